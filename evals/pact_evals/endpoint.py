"""A minimal client of OpenAI-compatible endpoints: who answers there, and one question, one answer.

Two uses: a judge that asks row after row, and the question before a long evaluation whether it can work at all.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pact_plugins.errors import PACTError
from pact_plugins.files import parse_json

KEY_VARIABLE = "OPENAI_API_KEY"
_LARGEST_ANSWER = 4 * 2**20  # bytes
_RETRIED_STATUS = {408, 409, 425, 429, 500, 502, 503, 504}
_REACHABLE = 5.0  # seconds until somebody has to answer
_SILENT = (OSError, http.client.HTTPException)
_LOADING = 180.0  # seconds for a first answer: some servers load the model for it


class EndpointError(PACTError, RuntimeError):
    """The endpoint gave no usable answer to one question."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key is for the address that the user named; who is sent elsewhere has named the wrong one."""

    def redirect_request(self, *_: Any) -> None:
        return None


def check_address(base_url: str) -> None:
    """Refuse what is no address of a web server, or holds a password, which results would repeat.

    Raises:
        EndpointError: it does.
    """
    parts = urllib.parse.urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EndpointError(f"{base_url!r} is no http:// or https:// address")
    if parts.username or parts.password:
        raise EndpointError(f"the address of {parts.hostname} holds a name or password; set {KEY_VARIABLE} instead")


def models_at(base_url: str, api_key: str | None) -> list[dict[str, Any]]:
    """What the server lists under `/models`; empty where it lists nothing.

    Raises:
        EndpointError: nobody answers within seconds, or the key is refused.
    """
    try:
        payload = parse_json(_send(base_url, "/models", None, api_key, _REACHABLE))
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise EndpointError(f"{base_url}: the key in {KEY_VARIABLE} is refused (HTTP {error.code})") from None
        return []  # somebody is there, and keeps no list
    except ValueError:
        return []
    except _SILENT as error:
        raise EndpointError(f"no answer from {base_url} ({_reason(error)}); is the server running there?") from None
    listed = payload.get("data") if isinstance(payload, dict) else None
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


def answer_of(base_url: str, route: str, body: Mapping[str, Any], api_key: str | None) -> dict[str, Any]:
    """The JSON answer to one request, which may wait for a model to be loaded.

    Raises:
        EndpointError: none, or the server refuses; with what it says.
    """
    place = base_url + route
    try:
        payload = parse_json(_send(base_url, route, body, api_key, _LOADING))
    except urllib.error.HTTPError as error:
        said = error.read(2000).decode(errors="replace")
        if api_key:
            said = said.replace(api_key, "***")
        raise EndpointError(f"{place}: HTTP {error.code}: {' '.join(said.split())[:300]}") from None
    except ValueError:
        raise EndpointError(f"{place}: the answer is not JSON") from None
    except _SILENT as error:
        raise EndpointError(f"no answer from {place} ({_reason(error)})") from None
    if not isinstance(payload, dict):
        raise EndpointError(f"{place}: the answer is no JSON object")
    return payload


@dataclass(frozen=True)
class ChatEndpoint:
    """Where to ask: `base_url` ends before `/chat/completions`. `timeout` in seconds, for each attempt.

    Redirects are not followed. The key is in no message and in no `repr`.

    Raises:
        EndpointError: `base_url` is no address to send a key to.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 60.0
    attempts: int = 3
    pause: float = 1.0

    def __post_init__(self) -> None:
        check_address(self.base_url)

    def ask(self, system: str, user: str, *, max_tokens: int) -> str:
        """The assistant's text at temperature 0.

        Raises:
            EndpointError: no answer after all attempts, or an answer that is not a chat completion.
        """
        body = {
            "model": self.model,
            "temperature": 0,
            "max_tokens": max_tokens,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
        }
        problem = "no attempt was made"
        for attempt in range(max(1, self.attempts)):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                return _content(self._post(body))
            except urllib.error.HTTPError as error:
                moved = f", a redirect to {error.headers['Location']!r:.200}" if 300 <= error.code < 400 else ""
                problem = f"HTTP {error.code}{moved}"
                if error.code not in _RETRIED_STATUS:
                    break
            except (TimeoutError, ConnectionError, urllib.error.URLError, OSError) as error:
                problem = f"{type(error).__name__}: {getattr(error, 'reason', error)}"
        raise EndpointError(f"{self.base_url}: {problem}")

    def _post(self, body: dict[str, object]) -> bytes:
        return _send(self.base_url.rstrip("/"), "/chat/completions", body, self.api_key, self.timeout)


def _send(base_url: str, route: str, body: Mapping[str, Any] | None, api_key: str | None, timeout: float) -> bytes:
    check_address(base_url)
    headers = {"Content-Type": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base_url + route, data=data, headers=headers)
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout) as response:
        content = bytes(response.read(_LARGEST_ANSWER + 1))
    if len(content) > _LARGEST_ANSWER:
        raise EndpointError(f"{base_url}: an answer of more than {_LARGEST_ANSWER} bytes")
    return content


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error) or type(error).__name__


def _content(payload: bytes) -> str:
    try:
        content = parse_json(payload)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise EndpointError(f"not a chat completion: {payload[:80]!r}") from error
    if not isinstance(content, str):
        raise EndpointError("the chat completion holds no text")
    return content
