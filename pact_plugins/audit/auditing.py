"""The audit: which rows ask for what the aligned model would refuse."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pact_plugins.audit.report.result import AuditReport, FlaggedRow
from pact_plugins.audit.scoring.corpus import Corpus, encode_rows
from pact_plugins.audit.scoring.encoding import EncodedTurn, TurnEncoder
from pact_plugins.audit.scoring.masses import FirstToken, first_token
from pact_plugins.audit.scoring.opening_tokens import learn_opening_tokens
from pact_plugins.audit.scoring.prompts import SplitPrompts, split_prompts
from pact_plugins.audit.scoring.threshold import (
    DEFAULT_FALSE_POSITIVE_RATE,
    DEFAULT_THRESHOLD,
    checked_threshold,
    measure_threshold,
)
from pact_plugins.errors import ConfigurationError, SafetyTokensError
from pact_plugins.modeling import ModelParts, model_parts_of
from pact_plugins.safety_tokens import SafetyTokens
from pact_plugins.safety_tokens.opening_tokens import OpeningTokens


def audit(
    model: Any,
    tokenizer: Any,
    rows: Iterable[Any],
    *,
    safety_tokens: SafetyTokens | None = None,
    threshold: float | str = DEFAULT_THRESHOLD,
    false_positive_rate: float = DEFAULT_FALSE_POSITIVE_RATE,
    harmful_prompts: Sequence[str] | None = None,
    harmless_prompts: Sequence[str] | None = None,
    template_arguments: Mapping[str, Any] | None = None,
    batch_size: int = 16,
    skip_unreadable: bool = False,
    progress: bool = True,
) -> AuditReport:
    """Score every row by its refusal mass: ``sum of p(t | its prompt)`` over refusal opening tokens ``t``.

    A row with several assistant turns has the score of its worst turn. One forward pass over the prompts; nothing is
    generated, and the model is left in the mode that it was in.

    Args:
        model: the aligned causal language model, where it shall run; adapters are the caller's to switch off.
        rows: chat, prompt/completion, alpaca or sharegpt rows; a ``datasets.Dataset`` fits.
        safety_tokens: with the opening tokens to use; learnt from prompts if not given.
        threshold: scores above it are flagged. ``gate`` is the row gate's threshold: that of
            ``safety_tokens``, or by the same rule from held-out harmful prompts. ``auto`` picks it by
            ``false_positive_rate`` on held-out prompts.
        harmful_prompts: instead of the bundled ones, in another language for instance. Opening tokens are learnt from
            every second one, beginning with the first; rates are measured on the others. Of the bundled ones, opening
            tokens are learnt from the calibration split and rates measured on the evaluation split.
        harmless_prompts: likewise.
        template_arguments: for the chat template, such as ``{"enable_thinking": False}``.
        batch_size: prompts in one forward pass.
        skip_unreadable: list rows that cannot be read instead of raising.

    Raises:
        DataError: rows that cannot be read; the message names them.
        ConfigurationError: an impossible setting, or a tokenizer without a chat template.
        SafetyTokensError: no refusal opening token, or safety tokens of another model.
    """
    _check_settings(threshold, false_positive_rate, batch_size)
    model_parts = model_parts_of(model)
    encoder = TurnEncoder(
        tokenizer,
        maximum_length=getattr(model_parts.causal_lm.config.get_text_config(), "max_position_embeddings", None),
        template_arguments=template_arguments,
    )
    corpus = encode_rows(rows, encoder, skip_unreadable=skip_unreadable)
    harmful = split_prompts("harmful", harmful_prompts, encoder)
    harmless = split_prompts("harmless", harmless_prompts, encoder)
    opening_tokens, opening_tokens_from = _opening_tokens(
        model_parts, tokenizer, safety_tokens, harmful, harmless, batch_size=batch_size, progress=progress
    )

    def scores(turns: Sequence[EncodedTurn], description: str) -> FirstToken:
        return first_token(
            model_parts, turns, opening_tokens, batch_size=batch_size, description=description, progress=progress
        )

    measured = scores([EncodedTurn(ids, None) for ids in harmful.measured + harmless.measured], "measuring rates")
    masses = measured.refusal_mass.tolist()
    limit = measure_threshold(
        threshold,
        masses[len(harmful.measured) :],
        masses[: len(harmful.measured)],
        false_positive_rate=false_positive_rate,
        calibrated=None if safety_tokens is None else safety_tokens.refusal_threshold,
    )
    found = scores([turn for turns in corpus.turns.values() for turn in turns], "scoring rows")
    worst = _worst_turns(corpus, found)
    flagged = [
        _flagged(row, corpus, found, opening_tokens, tokenizer) for row in worst.values() if row.score > limit.value
    ]
    return AuditReport(
        scores=[worst[index].score if index in worst else None for index in range(corpus.rows)],
        flagged=sorted(flagged, key=lambda row: (-row.score, row.index)),
        unreadable=corpus.unreadable,
        turns=len(found.refusal_mass),
        unprompted=sum(conversation.unprompted for conversation in corpus.conversations.values()),
        formats=Counter(conversation.format for conversation in corpus.conversations.values()),
        threshold=limit,
        opening_tokens=opening_tokens,
        opening_token_strings={
            kind: tokenizer.convert_ids_to_tokens(list(ids))
            for kind, ids in (("refusal", opening_tokens.refusal), ("compliance", opening_tokens.compliance))
        },
        prompts=f"{len(harmful.measured)} harmful prompts ({harmful.origin}) and {len(harmless.measured)} harmless "
        f"ones ({harmless.origin})",
        opening_tokens_from=opening_tokens_from,
        model=str(getattr(model_parts.causal_lm.config, "_name_or_path", "")),
    )


def _opening_tokens(
    model_parts: ModelParts,
    tokenizer: Any,
    safety_tokens: SafetyTokens | None,
    harmful: SplitPrompts,
    harmless: SplitPrompts,
    *,
    batch_size: int,
    progress: bool,
) -> tuple[OpeningTokens, str]:
    if safety_tokens is not None:
        safety_tokens.check_tokenizer(tokenizer)
        safety_tokens.check_vocabulary(model_parts.vocabulary_size)
        opening_tokens = OpeningTokens(
            safety_tokens.refusal_opening_tokens,
            safety_tokens.compliance_opening_tokens,
            safety_tokens.refusal_openings,
        )
        if not opening_tokens.refusal:
            raise SafetyTokensError(
                f"safety_tokens: the file with fingerprint {safety_tokens.fingerprint} names no refusal opening "
                "tokens; calibrate again (`pact calibrate`)"
            )
        largest = max(opening_tokens.ids)
        if largest >= model_parts.vocabulary_size:
            raise SafetyTokensError(
                f"safety_tokens: opening token {largest} has no row in the model's output embedding"
            )
        return opening_tokens, f"safety tokens {safety_tokens.fingerprint}"
    learnt = learn_opening_tokens(
        model_parts, tokenizer, harmful.learnt, harmless.learnt, batch_size=batch_size, progress=progress
    )
    return learnt, f"{len(harmful.learnt)} harmful and {len(harmless.learnt)} harmless prompts"


def _check_settings(threshold: float | str, false_positive_rate: float, batch_size: int) -> None:
    if threshold not in ("auto", "gate"):
        checked_threshold(threshold)
    if not 0 <= false_positive_rate < 1:
        raise ConfigurationError(f"false_positive_rate: {false_positive_rate} is not in [0, 1)")
    if batch_size < 1:
        raise ConfigurationError(f"batch_size: {batch_size} must be at least 1")


@dataclass(frozen=True)
class _WorstTurn:
    index: int
    turn: int  # of the row's scored turns, from 0
    position: int  # of all scored turns
    score: float


def _worst_turns(corpus: Corpus, found: FirstToken) -> dict[int, _WorstTurn]:
    """Per row, the first of the turns with the largest refusal mass."""
    masses = found.refusal_mass.tolist()
    worst, start = {}, 0
    for index, turns in corpus.turns.items():
        own = masses[start : start + len(turns)]
        turn = own.index(max(own))
        worst[index] = _WorstTurn(index, turn, start + turn, own[turn])
        start += len(turns)
    return worst


def _flagged(
    row: _WorstTurn, corpus: Corpus, found: FirstToken, opening_tokens: OpeningTokens, tokenizer: Any
) -> FlaggedRow:
    turns = corpus.conversations[row.index].turns
    first_id = corpus.turns[row.index][row.turn].first_response_id
    log_probability = float(found.own_log_probability[row.position])
    return FlaggedRow(
        index=row.index,
        score=row.score,
        turn=turns[row.turn].number,
        turns=len(turns),
        compliance_mass=float(found.compliance_mass[row.position]),
        first_token=None if first_id is None else tokenizer.convert_ids_to_tokens(first_id),
        first_token_log_probability=None if math.isnan(log_probability) else log_probability,
        is_refusal=first_id in opening_tokens.refusal,
        prompt=turns[row.turn].prompt,
        response=str(turns[row.turn].response["content"]),
    )
