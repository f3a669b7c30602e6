"""The openers that a score is made of: read from safety tokens, or learnt from prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pact_plugins.batch.teacher_forcing import TeacherForced, teacher_force
from pact_plugins.errors import SafetyTokensError
from pact_plugins.modeling import Anatomy, LiveHead
from pact_plugins.safety_tokens.openers import Openers, find_openers, first_token_probability
from pact_plugins.safety_tokens.recipe import excluded_ids

# More tokens than this cannot each have a probability above .01.
_LIMIT = 100


def learn_openers(
    anatomy: Anatomy,
    tokenizer: Any,
    harmful: Sequence[Sequence[int]],
    harmless: Sequence[Sequence[int]],
    *,
    batch_size: int,
    progress: bool,
) -> Openers:
    """Openers of the model's own answers, from one forward pass over encoded prompts; nothing is generated.

    Raises:
        SafetyTokensError: no token begins the answers to harmful prompts more than those to harmless ones.
    """
    means = []
    for kind, contexts in (("harmful", harmful), ("harmless", harmless)):
        forced = teacher_force(
            anatomy.decoder,
            LiveHead(anatomy.causal_lm),
            # Only the state after the prompt is wanted; which token would follow does not matter.
            [TeacherForced(context, [0]) for context in contexts],
            batch_size=batch_size,
            description=f"openers after {kind} prompts",
            progress=progress,
        )
        means.append(first_token_probability(forced, anatomy.causal_lm.device))
    excluded = excluded_ids(anatomy.causal_lm, tokenizer, anatomy.vocabulary_size, special=True)
    openers = find_openers(means[0], means[1], limit=_LIMIT, excluded_ids=excluded)
    if not openers.refusal:
        raise SafetyTokensError(
            f"the model has no refusal openers: after {len(harmful)} harmful and {len(harmless)} harmless prompts its "
            "answers begin alike. It may not refuse these prompts (give some that it refuses: harmful_prompts, "
            "`--harmful-prompts`), not be aligned, or think before it answers (switch that off in its chat template: "
            "template_arguments, `--template-arguments '{\"enable_thinking\": false}'`)"
        )
    return openers
