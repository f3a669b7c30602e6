"""A minimal client of OpenAI-compatible endpoints: who answers there, and one question, one answer.

Two uses: a judge that asks row after row, and the question before a long evaluation whether it can work at all.
"""

from __future__ import annotations

import asyncio
import os
import urllib.parse
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pact_plugins.errors import PACTError
from pact_plugins.files import parse_json

KEY_VARIABLE = "OPENAI_API_KEY"
_LARGEST_ANSWER = 4 * 2**20  # bytes
_RETRIED_STATUS = {408, 409, 425, 429, 500, 502, 503, 504}
_REACHABLE = 5.0  # seconds until somebody has to answer
_LOADING = 180.0  # seconds for a first answer: some servers load the model for it


class EndpointError(PACTError, RuntimeError):
    """The endpoint gave no usable answer to one question.

    ``status`` is the HTTP status of an answer that is none of success, ``said`` what stood in it.
    """

    def __init__(self, message: str, *, status: int | None = None, said: str = "", again: bool = False) -> None:
        super().__init__(message)
        self.status, self.said, self.again = status, said, again


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
        payload = parse_json(send(base_url + "/models", None, api_key, _REACHABLE))
    except EndpointError as error:
        if error.status in (401, 403):
            raise EndpointError(f"{base_url}: the key in {KEY_VARIABLE} is refused (HTTP {error.status})") from None
        if error.status is None:
            raise EndpointError(f"no answer from {base_url} ({error}); is the server running there?") from None
        return []  # somebody is there, and keeps no list
    except ValueError:
        return []
    listed = payload.get("data") if isinstance(payload, dict) else None
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


def answer_of(base_url: str, route: str, body: Mapping[str, Any], api_key: str | None) -> dict[str, Any]:
    """The JSON answer to one request, which may wait for a model to be loaded.

    Raises:
        EndpointError: none, or the server refuses; with what it says.
    """
    place = base_url + route
    try:
        payload = parse_json(send(place, body, api_key, _LOADING))
    except EndpointError as error:
        if error.status is None:
            raise EndpointError(f"no answer from {place} ({error})") from None
        raise EndpointError(f"{place}: {error}{f': {error.said}' if error.said else ''}") from None
    except ValueError:
        raise EndpointError(f"{place}: the answer is not JSON") from None
    if not isinstance(payload, dict):
        raise EndpointError(f"{place}: the answer is no JSON object")
    return payload


@dataclass(frozen=True)
class ChatEndpoint:
    """Where to ask: `base_url` ends before `/chat/completions`. `timeout` in seconds, for each attempt as a whole.

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
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

        attempts = Retrying(
            stop=stop_after_attempt(max(1, self.attempts)),
            wait=wait_exponential(multiplier=self.pause, max=60),
            retry=retry_if_exception(lambda error: isinstance(error, EndpointError) and error.again),
            reraise=True,
        )
        place = self.base_url.rstrip("/") + "/chat/completions"
        try:
            return _content(attempts(send, place, body, self.api_key, self.timeout))
        except EndpointError as error:
            raise EndpointError(f"{self.base_url}: {error}") from None


def send(place: str, body: Mapping[str, Any] | None, api_key: str | None, timeout: float) -> bytes:
    """What is answered within ``timeout`` seconds, from the first byte asked to the last one read; GET without a body.

    Raises:
        EndpointError: no answer in time, one that is broken, too large, a redirect, or of a status that is no success.
    """
    check_address(place)
    try:
        # A loop of its own, whatever runs around it: a notebook has one in this thread.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, _exchange(place, body, api_key, timeout)).result()
    except EndpointError:
        raise
    except Exception as error:  # a server may send anything, and the client has an error of its own for most of it
        raise EndpointError(f"{type(error).__name__}: {_first_line(error)}", again=True) from None


async def _exchange(place: str, body: Mapping[str, Any] | None, api_key: str | None, timeout: float) -> bytes:
    import aiohttp

    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    limit = aiohttp.ClientTimeout(total=timeout)
    request: dict[str, Any] = {"json": body, "headers": headers, "allow_redirects": False, "proxy": _proxy(place)}
    async with (
        aiohttp.ClientSession(timeout=limit) as session,
        session.request("GET" if body is None else "POST", place, **request) as response,
    ):
        content = b""
        async for part in response.content.iter_chunked(2**16):
            content += part
            if len(content) > _LARGEST_ANSWER:
                raise EndpointError(f"an answer of more than {_LARGEST_ANSWER} bytes")
        if 200 <= response.status < 300:
            return content
        # The key is for the address that the user named; who is sent elsewhere has named the wrong one.
        location = response.headers.get("Location")
        moved = f", a redirect to {location!r:.200}" if 300 <= response.status < 400 and location else ""
        said = content[:2000].decode(errors="replace")
        said = " ".join((said.replace(api_key, "***") if api_key else said).split())[:300]
        again = response.status in _RETRIED_STATUS
        raise EndpointError(f"HTTP {response.status}{moved}", status=response.status, said=said, again=again)


def _proxy(place: str) -> str | None:
    """The environment's, as every other program takes it."""
    parts = urllib.parse.urlsplit(place)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)  # aiohttp's own words leave it out
    return (str(error).strip().splitlines() or ["no answer in time" if isinstance(error, TimeoutError) else ""])[0]


def _content(payload: bytes) -> str:
    try:
        content = parse_json(payload)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise EndpointError(f"not a chat completion: {payload[:80]!r}") from error
    if not isinstance(content, str):
        raise EndpointError("the chat completion holds no text")
    return content
