"""lm-eval's type of a model behind a chat endpoint, without empty lists of stop strings: not every server takes one."""

from __future__ import annotations

from typing import Any

from lm_eval.api.registry import register_model
from lm_eval.models.openai_completions import LocalChatCompletion

from pact_evals.harness.evaluate import CHAT_ENDPOINT


@register_model(CHAT_ENDPOINT)
class ChatEndpointModel(LocalChatCompletion):  # type: ignore[misc]
    """What `local-chat-completions` is, otherwise."""

    def _create_payload(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        payload: dict[str, Any] = super()._create_payload(*args, **kwargs)
        return {key: value for key, value in payload.items() if key != "stop" or value}
