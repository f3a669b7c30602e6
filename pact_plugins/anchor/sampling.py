"""Making an ``AnchorSet``: the reference samples one reply to each prompt, once, and the result is remembered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pact_plugins.anchor.anchors import AnchorSet
from pact_plugins.anchor.settings import AnchorSettings
from pact_plugins.batch.replies import SAMPLING
from pact_plugins.batch.teacher_forcing import SEQUENCE_TOKENS, TeacherForced
from pact_plugins.contracts import PartContext
from pact_plugins.distributed import everyone
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import cache_folder
from pact_plugins.messages import announce, is_main_process
from pact_plugins.modeling import model_fingerprint, tokenizer_fingerprint


def sampled_anchors(
    causal_lm: Any, context: PartContext, asked: Mapping[str, Sequence[Sequence[int]]]
) -> tuple[AnchorSet, Path]:
    """The reference's replies to contexts of each kind, and the file in the cache folder that holds them.

    Every rank must call it; all of them get the first rank's replies.

    Args:
        causal_lm: the aligned model (adapters, if any, are the caller's to switch off).
        context: the anchor's, with its settings, the tokenizer and the cache folder.
        asked: kind to token ids of its contexts.

    Raises:
        ConfigurationError: the reference has nothing to say to a context.
    """
    settings: AnchorSettings = context.settings
    tokenizer = context.tokenizer
    key = _key(causal_lm, tokenizer, settings, {kind: list(map(list, own)) for kind, own in asked.items()})
    path = cache_folder(context.cache_path) / "anchors" / f"{key}.safetensors"
    contexts = [list(one) for own in asked.values() for one in own]
    kinds = {kind: len(own) for kind, own in asked.items()}
    cached = _read(path, contexts, kinds, causal_lm.get_input_embeddings().weight.shape[0])
    if everyone(cached is not None) and cached is not None:
        announce(f"{len(cached)} anchors from {path}")
        return cached, path
    replies = context.aligned.replies.to(
        causal_lm,
        tokenizer,
        contexts,
        max_new_tokens=settings.max_new_tokens,
        max_tokens=context.batch_size * SEQUENCE_TOKENS,
        description="sampling anchors",
        progress=is_main_process(),
    )
    _refuse_empty(replies)
    anchors = AnchorSet(tuple(map(TeacherForced, contexts, replies)), kinds)
    kept = "kept in"
    if is_main_process():
        try:
            anchors.save(path, tokenizer=tokenizer)
        except OSError as error:
            kept = (
                f"but they cannot be kept ({error.strerror}; set reference.cache_path to a folder that can be written):"
            )
    announce(f"{len(anchors)} anchors sampled from the reference, {kept} {path}")
    return anchors, path


def _refuse_empty(replies: list[list[int]]) -> None:
    if not all(replies):
        number = 1 + [bool(reply) for reply in replies].index(False)
        raise ConfigurationError(
            f"anchor: the reference gave an empty reply to prompt {number} of {len(replies)}, counted kind by kind; "
            "give prompts that it answers (anchor.prompts), or set anchor: off"
        )


def _read(path: Path, contexts: list[list[int]], kinds: Mapping[str, int], vocabulary_size: int) -> AnchorSet | None:
    try:
        found = AnchorSet.load(path) if path.exists() else None
    except ConfigurationError as error:
        announce(f"the cached anchors are replaced: {error}")
        return None
    if found is None:
        return None
    if [list(one.context_ids) for one in found.sequences] != contexts or dict(found.kinds) != kinds:
        announce(f"the cached anchors are replaced: {path} answers other prompts")
        return None
    if max(index for one in found.sequences for index in one.response_ids) >= vocabulary_size:
        announce(f"the cached anchors are replaced: {path} holds tokens that the model lacks")
        return None
    return found


def _key(causal_lm: Any, tokenizer: Any, settings: AnchorSettings, contexts: Any) -> str:
    content = {
        "model": model_fingerprint(causal_lm),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "contexts": contexts,
        "max_new_tokens": settings.max_new_tokens,
        "sampling": SAMPLING,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]
