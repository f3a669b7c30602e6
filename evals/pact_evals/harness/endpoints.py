"""lm-eval's types of models behind an endpoint, which leave the address that the user named for no other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any

from lm_eval.api.registry import register_model
from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI, OpenAIChatCompletion

from pact_evals.endpoint import EndpointError, send
from pact_evals.harness.evaluate import CHAT, COMPLETIONS, OPENAI_CHAT
from pact_plugins.files import parse_json


class _OneAddress:
    """A redirect is an error, and every request has one deadline, however the bytes come. lm-eval tries again."""

    def model_call(
        self: Any, messages: Any, *, generate: bool = True, gen_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        """One request at a time."""
        payload = self._create_payload(
            self.create_message(messages),
            generate=generate,
            gen_kwargs=deepcopy(gen_kwargs),
            seed=self._seed,
            eos=self.eos_string,
            **kwargs,
        )
        return parse_json(send(self.base_url, payload, self.api_key, self.timeout))

    async def amodel_call(self, session: Any, *args: Any, **kwargs: Any) -> Any:
        """Several at once, which have lm-eval's own deadline."""
        return await super().amodel_call(_Session(session), *args, **kwargs)  # type: ignore[misc]


class _Session:
    """What lm-eval asks of aiohttp's session."""

    def __init__(self, session: Any) -> None:
        self._session = session

    @asynccontextmanager
    async def post(self, url: str, **options: Any) -> AsyncIterator[Any]:
        async with self._session.post(url, allow_redirects=False, **options) as response:
            if not 200 <= response.status < 300 and response.ok:
                place = response.headers.get("Location")
                raise EndpointError(f"{url}: HTTP {response.status}, a redirect to {place!r:.200}")
            yield response


@register_model(CHAT)
class Chat(_OneAddress, LocalChatCompletion):  # type: ignore[misc]
    """Without empty lists of stop strings: not every server takes one."""

    def _create_payload(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        payload: dict[str, Any] = super()._create_payload(*args, **kwargs)
        return {key: value for key, value in payload.items() if key != "stop" or value}


@register_model(COMPLETIONS)
class Completions(_OneAddress, LocalCompletionsAPI):  # type: ignore[misc]
    """`local-completions`."""


@register_model(OPENAI_CHAT)
class OpenAIChat(_OneAddress, OpenAIChatCompletion):  # type: ignore[misc]
    """`openai-chat-completions`."""
