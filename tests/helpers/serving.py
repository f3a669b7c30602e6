"""A small OpenAI-compatible server on loopback, a real model behind it: chat, completions, echoed log-probabilities."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

NAME = "tiny"


class Served:
    """What answers, and what was asked of it: (route, headers, body).

    Attributes:
        key: that every request must bring; None without one.
        echoes: whether `/completions` gives a prompt's log-probabilities, as vLLM does and llama.cpp does not.
    """

    def __init__(self, path: Path, *, key: str | None = None, echoes: bool = True) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(path).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.key, self.echoes = key, echoes
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self._one_at_a_time = threading.Lock()

    def answer(self, route: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if route.endswith("/models"):
            return 200, {"data": [{"id": NAME, "object": "model", "created": 1, "meta": {"n_params": 1}}]}
        if body["model"] != NAME:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
        with self._one_at_a_time:
            if route.endswith("/chat/completions"):
                text = self.tokenizer.apply_chat_template(body["messages"], tokenize=False, add_generation_prompt=True)
                ids = self.tokenizer(text, add_special_tokens=False).input_ids
                return 200, {"choices": [{"index": 0, "message": {"content": self._reply(ids, body)}}]}
            choices = [self._completed(ids, body) for ids in body["prompt"]]
        return 200, {"choices": [{"index": index, **choice} for index, choice in enumerate(choices)]}

    def _completed(self, ids: list[int], body: dict[str, Any]) -> dict[str, Any]:
        if not (body.get("echo") and self.echoes):
            return {"text": self._reply(ids, body), "logprobs": None}
        with torch.no_grad():
            scores = self.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        given = [None, *(float(scores[place, token]) for place, token in enumerate(ids[1:]))]
        best = [None, *({"best": float(row.max())} for row in scores[:-1])]
        # One token more was asked for.
        return {"text": "", "logprobs": {"token_logprobs": [*given, 0.0], "top_logprobs": [*best, {"best": 0.0}]}}

    def _reply(self, ids: list[int], body: dict[str, Any]) -> str:
        torch.manual_seed(body.get("seed", 0))
        samples = body["temperature"] > 0
        settings = {"top_k": body.get("top_k", 50), "top_p": body.get("top_p", 1.0)} if samples else {}
        written = self.model.generate(
            torch.tensor([ids]), do_sample=samples, max_new_tokens=body["max_tokens"], **settings
        )
        return self.tokenizer.decode(written[0, len(ids) :], skip_special_tokens=True)


@contextmanager
def serving(served: Served) -> Iterator[str]:
    """Its address while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: dict[str, Any]) -> None:
            served.asked.append((self.path, dict(self.headers), body))
            if served.key and self.headers["Authorization"] != f"Bearer {served.key}":
                status, content = 401, {"error": {"message": f"Incorrect key {self.headers['Authorization']}"}}
            else:
                status, content = served.answer(self.path, body)
            payload = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
