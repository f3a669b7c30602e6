"""A judge's key goes where the user said, and nowhere else: not along a redirect, not into a message or a file."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pact_evals.endpoint import ChatEndpoint, EndpointError
from pact_evals.judges import JudgeError, get_judge

KEY = "key-4711"
ANSWER = json.dumps({"choices": [{"message": {"content": "fine"}}]}).encode()


class Server:
    """One on loopback that keeps what it was asked.

    Args:
        location: where it redirects to with every status of redirection, or None to answer.
    """

    def __init__(self, location: str | None = None, status: int = 200, body: bytes = ANSWER) -> None:
        self.seen: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                outer.seen.append((self.command, self.headers["Authorization"]))
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                self.send_response(status)
                if location is not None:
                    self.send_header("Location", location)
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self._answer()

            def do_GET(self) -> None:
                self._answer()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def test_the_key_is_sent_where_the_user_said(elsewhere):
    assert ChatEndpoint(elsewhere.url, "m", KEY).ask("s", "u", max_tokens=1) == "fine"
    assert elsewhere.seen == [("POST", f"Bearer {KEY}")]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(elsewhere, status):
    first = Server(f"{elsewhere.url}/chat/completions", status)
    try:
        with pytest.raises(EndpointError, match=rf"HTTP {status}, a redirect to '{elsewhere.url}") as error:
            ChatEndpoint(first.url, "m", KEY, attempts=3).ask("s", "u", max_tokens=1)
    finally:
        first.close()
    assert elsewhere.seen == []
    assert len(first.seen) == 1
    assert KEY not in str(error.value)


def test_the_key_comes_from_the_environment_and_is_written_nowhere(elsewhere, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    judge = get_judge("strongreject", base_url=elsewhere.url, model="grader")
    verdicts = judge.assess([{"prompt": "p", "response": "r"}])
    assert elsewhere.seen[0][1] == f"Bearer {KEY}"
    assert KEY not in repr((judge.endpoint, judge.identity, verdicts, vars(judge)))


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/v1", "nothing", "http:///v1"])
def test_only_http_is_asked(url):
    with pytest.raises(JudgeError, match="is no http:// or https:// address"):
        get_judge("strongreject", base_url=url, model="grader")


def test_an_address_with_a_password_is_refused_without_repeating_it():
    with pytest.raises(JudgeError, match="set OPENAI_API_KEY instead") as error:
        get_judge("strongreject", base_url=f"https://user:{KEY}@host/v1", model="grader")
    assert KEY not in str(error.value)


def test_an_answer_without_end_is_refused():
    server = Server(body=b" " * (5 * 2**20))
    try:
        with pytest.raises(EndpointError, match="more than"):
            ChatEndpoint(server.url, "m").ask("s", "u", max_tokens=1)
    finally:
        server.close()
