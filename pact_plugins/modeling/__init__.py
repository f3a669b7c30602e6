"""What the package must know of a causal language model and its tokenizer."""

from pact_plugins.modeling.adapter_parameters import switched_off
from pact_plugins.modeling.chat import assistant_header_ids, prompt_ids, question_ids, response_ids, turn_ids
from pact_plugins.modeling.compiled import compiled_as_trained, forget_compiled
from pact_plugins.modeling.execution import (
    AutocastState,
    callable_by_itself,
    checkpointed_modules,
    checkpointing_if_large,
    evaluation_mode,
    preserved_random_state,
    preserved_sharding,
)
from pact_plugins.modeling.fingerprint import model_fingerprint, tokenizer_fingerprint, weights_fingerprint
from pact_plugins.modeling.head import FrozenHead, LiveHead, OutputHead
from pact_plugins.modeling.loading import whole_on_every_rank
from pact_plugins.modeling.model_parts import ModelParts, is_sharded, model_parts_of
from pact_plugins.modeling.moved import was_moved
from pact_plugins.modeling.starting_weights import base_has_moved
from pact_plugins.modeling.weights import weights_digest

__all__ = [
    "AutocastState",
    "FrozenHead",
    "LiveHead",
    "ModelParts",
    "OutputHead",
    "assistant_header_ids",
    "base_has_moved",
    "callable_by_itself",
    "checkpointed_modules",
    "checkpointing_if_large",
    "compiled_as_trained",
    "evaluation_mode",
    "forget_compiled",
    "is_sharded",
    "model_fingerprint",
    "model_parts_of",
    "preserved_random_state",
    "preserved_sharding",
    "prompt_ids",
    "question_ids",
    "response_ids",
    "switched_off",
    "tokenizer_fingerprint",
    "turn_ids",
    "was_moved",
    "weights_digest",
    "weights_fingerprint",
    "whole_on_every_rank",
]
