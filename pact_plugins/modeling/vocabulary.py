"""What tokenizers of different kinds say of their vocabulary, in one form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def encodes_chats_itself(tokenizer: Any) -> bool:
    """Whether only its token ids are a chat (mistral-common): its text, encoded again, has lost the control tokens."""
    return any(kind.__name__.startswith("MistralCommon") for kind in type(tokenizer).__mro__)


def added_token_ids(tokenizer: Any) -> set[int]:
    """Ids added to the vocabulary proper; none where the tokenizer knows no such thing."""
    return set(_added(tokenizer))


def special_token_ids(tokenizer: Any) -> set[int]:
    """Ids that no plain text holds."""
    marked = {index for index, token in _added(tokenizer).items() if token.special}
    return set(tokenizer.all_special_ids) | marked


def _added(tokenizer: Any) -> Mapping[int, Any]:
    found = getattr(tokenizer, "added_tokens_decoder", None)
    return found if isinstance(found, Mapping) else {}
