"""Models behind an OpenAI-compatible endpoint: vLLM, llama.cpp's server, Ollama.

The server applies its own chat template, as it does for its users; with a tokenizer (`tokenizer` among the arguments)
the template is applied here and the tokens go to `/completions`, which can give log-likelihoods.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from pact_evals.endpoint import KEY_VARIABLE, EndpointError, answer_of, models_at
from pact_evals.harness.evaluate import CHAT, COMPLETIONS, OPENAI_CHAT
from pact_evals.harness.listing import generation_settings
from pact_evals.runs.models import ModelSpec, label_and_name, refuse_clashes
from pact_evals.runs.secrets import refuse_secrets
from pact_plugins.errors import ConfigurationError

_CHAT, _COMPLETIONS = "/chat/completions", "/completions"
_TIMEOUT = 600  # seconds for each answer
# Keys of an entry of `/models` that say when or for whom, not what.
_NOT_THE_MODEL = ("created", "permission", "status", "modified_at", "last_used")


def read_served(
    names: Sequence[str],
    endpoint: str,
    arguments: Mapping[str, Any],
    *,
    apply_chat_template: bool = True,
    concurrency: int = 1,
) -> list[ModelSpec]:
    """The models that a server has under these names, each `NAME` or `LABEL=NAME`.

    Args:
        endpoint: its address, up to `/chat/completions`.
        arguments: further arguments of lm-eval's model type; with `tokenizer`, tokens go to `/completions`.
        concurrency: requests in flight.

    Raises:
        ConfigurationError: no address, or a secret where it would be stored; labels clash.
        EndpointError: nobody answers within seconds, or the key is refused.
    """
    base_url = _address(endpoint)
    refuse_secrets(arguments, KEY_VARIABLE)
    listed = models_at(base_url, _key())
    tokenizer = "tokenizer" in arguments
    if not tokenizer and not apply_chat_template:
        raise ConfigurationError("--no-chat-template: at an endpoint it needs --model-args tokenizer=PATH_OR_ID")
    given = {
        "base_url": base_url + (_COMPLETIONS if tokenizer else _CHAT),
        "num_concurrent": concurrency,
        "timeout": _TIMEOUT,
        **({"tokenizer_backend": "huggingface"} if tokenizer else {}),
        **arguments,
    }
    specs = []
    for text in names:
        label, name = label_and_name(text)
        backend = COMPLETIONS if tokenizer else _chat_backend(base_url)
        specs.append(ModelSpec(label, name, None, backend, given, served=_described(listed, name)))
    refuse_clashes(specs)
    return specs


def require_answers(spec: ModelSpec, tasks: Sequence[str]) -> None:
    """Ask for one token in each way that the tasks will, before hundreds of rows are.

    Raises:
        ConfigurationError: a task needs log-likelihoods, which this route does not give.
        EndpointError: the server refuses a request; with what it says.
    """
    base_url = str(spec.arguments["base_url"])
    is_chat = base_url.endswith(_CHAT)
    base_url = base_url.removesuffix(_CHAT if is_chat else _COMPLETIONS)
    ways: dict[str, tuple[str, dict[str, Any] | None]] = {}
    for task, settings in generation_settings(tasks).items():
        ways.setdefault(json.dumps(settings, sort_keys=True), (task, settings))
    for task, settings in ways.values():
        if settings is None and is_chat:
            raise ConfigurationError(
                f"{task} needs log-likelihoods, which no chat endpoint gives; leave it out (--tasks), or where the "
                "server has /completions that echo log-probabilities: --model-args tokenizer=PATH_OR_ID"
            )
        try:
            if settings is None:
                _require_log_likelihoods(base_url, spec)
            else:
                _require_text(base_url, spec, settings, is_chat=is_chat)
        except EndpointError as error:
            cure = f"; where it does not take {', '.join(settings)}, leave the task out (--tasks)" if settings else ""
            raise EndpointError(f"{spec.label}: {task}: {error}{cure}") from None


def _require_text(base_url: str, spec: ModelSpec, settings: Mapping[str, Any], *, is_chat: bool) -> None:
    limit = "max_completion_tokens" if spec.backend == OPENAI_CHAT else "max_tokens"
    body = {"model": spec.model, limit: 1, "temperature": 0, "seed": 1, **settings}
    if is_chat:
        answer = answer_of(base_url, _CHAT, {**body, "messages": [{"role": "user", "content": "Hello"}]}, _key())
    else:
        answer = answer_of(base_url, _COMPLETIONS, {**body, "prompt": [[0, 0]]}, _key())
    if not answer.get("choices"):
        raise EndpointError(f"{base_url}: an answer without choices; is it OpenAI-compatible?")


def _require_log_likelihoods(base_url: str, spec: ModelSpec) -> None:
    body = {"model": spec.model, "prompt": [[0, 0]], "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True}
    answer = answer_of(base_url, _COMPLETIONS, body, _key())
    try:
        given = answer["choices"][0]["logprobs"]["token_logprobs"]
    except (KeyError, IndexError, TypeError):
        given = []
    if len(given) < 2:
        raise EndpointError("it needs log-likelihoods, and this server does not echo those of a prompt; leave it out")


def _address(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"--endpoint: {endpoint} is no address such as http://127.0.0.1:8080/v1")
    if parts.username or parts.password or parts.query:
        raise ConfigurationError(
            f"--endpoint: what stands before @ or after ? would be stored; put the key into {KEY_VARIABLE}"
        )
    return endpoint.rstrip("/").removesuffix(_CHAT).removesuffix(_COMPLETIONS)


def _chat_backend(base_url: str) -> str:
    return OPENAI_CHAT if urlsplit(base_url).hostname == "api.openai.com" else CHAT


def _key() -> str | None:
    return os.environ.get(KEY_VARIABLE)


def _described(listed: Sequence[Mapping[str, Any]], name: str) -> str:
    """A fingerprint of what the server says of the model: size, context, place; without times."""
    entry: Mapping[str, Any] = next((entry for entry in listed if entry.get("id") == name), {})
    plain = {key: value for key, value in entry.items() if key not in _NOT_THE_MODEL}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]
