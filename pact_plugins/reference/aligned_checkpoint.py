"""The aligned model from its path, where the model in memory is no longer the aligned one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import nn
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from pact_plugins.contracts.reference import ReferenceContext, ReferenceSettings
from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import ModelParts, model_parts_of, preserved_random_state, whole_on_every_rank
from pact_plugins.modeling.loading import why_not_loaded

_CHECKPOINT = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-\d+")


def aligned_model_path(model_parts: ModelParts, settings: ReferenceSettings, *, resumed: bool) -> str | None:
    """Where the aligned model has to be loaded from; None where the model in memory, as it is now, is aligned.

    Raises:
        ConfigurationError: it has to be loaded and nobody knows from where.
    """
    if settings.path is not None or not resumed:
        return settings.path
    # The weights in memory have moved already: only the model's source still is the aligned model.
    path = str(getattr(model_parts.causal_lm.config, "_name_or_path", "") or "")
    if not path:
        raise ConfigurationError(
            "training begins with weights that may have moved already (it resumes from a checkpoint, train() is called "
            "again, another trainer of this process had the model, or auto_find_batch_size tries a smaller batch) and "
            "the aligned model's own path is unknown; set reference.path to the aligned model"
        )
    if is_checkpoint(path):
        raise ConfigurationError(
            f"the model was loaded from {path}, a trainer's checkpoint, whose weights have moved already, so that "
            "nobody knows what it was before; load it from the aligned model's own path (resume_from_checkpoint brings "
            "the weights), or set reference.path to the aligned model"
        )
    return path


def is_checkpoint(path: str) -> bool:
    """Whether a trainer has written the folder in the middle of a training."""
    folder = Path(path)
    return bool(_CHECKPOINT.fullmatch(folder.name)) and (folder / TRAINER_STATE_NAME).is_file()


def load_aligned_model(path: str, trained: ModelParts) -> ModelParts:
    """The model at ``path`` in the dtype, on the device and with the attention implementation of the trained one.

    Another implementation rounds otherwise, and need not read packed sequences apart.

    Raises:
        ConfigurationError: it cannot be loaded.
    """
    from transformers import AutoModelForCausalLM

    own = next(trained.decoder.parameters())
    attention = getattr(trained.causal_lm.config, "_attn_implementation", None)
    same: dict[str, Any] = {} if attention is None else {"attn_implementation": attention}
    try:
        with preserved_random_state(), whole_on_every_rank():
            model = AutoModelForCausalLM.from_pretrained(path, dtype=trained.causal_lm.dtype, **same)
    except (OSError, ValueError) as error:
        reason = why_not_loaded(path, error)
        raise ConfigurationError(f"reference.path: {path} cannot be loaded: {reason}") from error
    return model_parts_of(nn.Module.to(model, own.device).eval())


def check_vocabulary(loaded: ModelParts, path: str, context: ReferenceContext) -> None:
    """Raise ConfigurationError where a loaded model lacks output tokens that the objective needs."""
    if context.token_ids is not None:
        largest = int(context.token_ids.max())
        if largest >= loaded.vocabulary_size:
            raise ConfigurationError(
                f"reference.path: {path} has {loaded.vocabulary_size} output tokens, but safety token {largest} "
                "is among those to be held; name the aligned model that training starts from"
            )
    elif loaded.vocabulary_size != context.model_parts.vocabulary_size:
        raise ConfigurationError(
            f"reference.path: {path} has {loaded.vocabulary_size} output tokens and the trained model "
            f"{context.model_parts.vocabulary_size}; the whole vocabulary is held, which has to be the same"
        )
