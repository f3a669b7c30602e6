"""The opening tokens that a score is made of: read from safety tokens, or learnt from prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pact_plugins.errors import SafetyTokensError
from pact_plugins.modeling import ModelParts
from pact_plugins.safety_tokens.beginnings import Beginnings
from pact_plugins.safety_tokens.opening_tokens import OpeningTokens, find_opening_tokens
from pact_plugins.safety_tokens.recipe import excluded_ids

# More tokens than this cannot each have a probability above .01.
_LIMIT = 100


def learn_opening_tokens(
    model_parts: ModelParts,
    tokenizer: Any,
    harmful: Sequence[Sequence[int]],
    harmless: Sequence[Sequence[int]],
    *,
    batch_size: int,
    progress: bool,
) -> OpeningTokens:
    """Opening tokens of the model's own answers, from one forward pass over encoded prompts; nothing is generated.

    Raises:
        SafetyTokensError: nothing begins the answers to harmful prompts more than those to harmless ones.
    """
    beginnings = Beginnings(model_parts, harmful, harmless, batch_size=batch_size, progress=progress)
    excluded = excluded_ids(model_parts.causal_lm, tokenizer, model_parts.vocabulary_size, special=True)
    opening_tokens = find_opening_tokens(*beginnings.first, limit=_LIMIT, excluded_ids=excluded)
    opening_tokens = replace(opening_tokens, openings=beginnings.openings(excluded))
    if not opening_tokens.refusal_openings:
        raise SafetyTokensError(
            f"the model has no refusal openings: after {len(harmful)} harmful and {len(harmless)} harmless prompts its "
            "answers begin alike. It may not refuse these prompts (give some that it refuses: harmful_prompts, "
            "`--harmful-prompts`), not be aligned, or think before it answers (switch that off in its chat template: "
            "template_arguments, `--template-arguments '{\"enable_thinking\": false}'`)"
        )
    return opening_tokens
