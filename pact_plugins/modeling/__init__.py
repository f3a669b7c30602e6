"""What the package must know of a causal language model and its tokenizer."""

from pact_plugins.modeling.anatomy import Anatomy, dissect
from pact_plugins.modeling.chat import assistant_header_ids, prompt_ids, response_ids, turn_ids
from pact_plugins.modeling.execution import AutocastState, evaluation_mode, preserved_random_state
from pact_plugins.modeling.fingerprint import model_fingerprint, tokenizer_fingerprint
from pact_plugins.modeling.head import FrozenHead, LiveHead, OutputHead

__all__ = [
    "Anatomy",
    "AutocastState",
    "FrozenHead",
    "LiveHead",
    "OutputHead",
    "assistant_header_ids",
    "dissect",
    "evaluation_mode",
    "model_fingerprint",
    "preserved_random_state",
    "prompt_ids",
    "response_ids",
    "tokenizer_fingerprint",
    "turn_ids",
]
