"""A minimal client of OpenAI-compatible chat endpoints: one question, one answer, time-outs and retries."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

_RETRIED_STATUS = {408, 409, 425, 429, 500, 502, 503, 504}


class EndpointError(Exception):
    """The endpoint gave no usable answer to one question."""


@dataclass(frozen=True)
class ChatEndpoint:
    """Where to ask: `base_url` ends before `/chat/completions`. `timeout` in seconds, for each attempt."""

    base_url: str
    model: str
    api_key: str | None = None
    timeout: float = 60.0
    attempts: int = 3
    pause: float = 1.0

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
                problem = f"HTTP {error.code}"
                if error.code not in _RETRIED_STATUS:
                    break
            except (TimeoutError, ConnectionError, urllib.error.URLError, OSError) as error:
                problem = f"{type(error).__name__}: {getattr(error, 'reason', error)}"
        raise EndpointError(f"{self.base_url}: {problem}")

    def _post(self, body: dict[str, object]) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        request = urllib.request.Request(
            self.base_url.rstrip("/") + "/chat/completions", data=json.dumps(body).encode(), headers=headers
        )
        with urllib.request.urlopen(request, timeout=self.timeout) as response:
            return bytes(response.read())


def _content(payload: bytes) -> str:
    try:
        content = json.loads(payload)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise EndpointError(f"not a chat completion: {payload[:80]!r}") from error
    if not isinstance(content, str):
        raise EndpointError("the chat completion holds no text")
    return content
