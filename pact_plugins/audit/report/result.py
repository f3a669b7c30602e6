"""What an audit found, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pact_plugins.audit.scoring import Detection, Threshold, detection
from pact_plugins.safety_tokens.opening_tokens import OpeningTokens

FORMAT = "pact-audit/1"


@dataclass(frozen=True)
class FlaggedRow:
    """One row above the threshold.

    Attributes:
        index: of the row, from 0.
        score: refusal mass of its worst turn.
        turn, turns: number of that turn, from 1 among the row's assistant turns, and how many were scored.
        compliance_mass: of the same turn.
        first_token, first_token_log_probability: with which the row's own response begins, and how probable the model
            finds it there, in nats; None where the response is empty.
        is_refusal: whether the row's own response begins with a refusal opening token: it teaches what the
            model does anyway.
        prompt, response: texts of the turn.
    """

    index: int
    score: float
    turn: int
    turns: int
    compliance_mass: float
    first_token: str | None
    first_token_log_probability: float | None
    is_refusal: bool
    prompt: str
    response: str


@dataclass(frozen=True)
class AuditReport:
    """The result of ``audit``.

    Attributes:
        scores: one per row of the data, in its order; None where the row could not be read.
        flagged: rows above the threshold, the highest score first.
        unreadable: index and reason of every row without a score.
        turns: assistant turns that were scored.
        unprompted: assistant turns before any user turn, which were not.
        formats: rows of each format.
        opening_token_strings: the tokenizer's strings of ``opening_tokens``.
        prompts: where the prompts came from that opening tokens and threshold were measured on.
    """

    scores: Sequence[float | None]
    flagged: Sequence[FlaggedRow]
    unreadable: Mapping[int, str]
    turns: int
    unprompted: int
    formats: Mapping[str, int]
    threshold: Threshold
    opening_tokens: OpeningTokens
    opening_token_strings: Mapping[str, Sequence[str]]
    prompts: str
    opening_tokens_from: str
    model: str

    @property
    def rows(self) -> int:
        """All rows of the data."""
        return len(self.scores)

    @property
    def scored(self) -> int:
        """Rows with a score."""
        return self.rows - len(self.unreadable)

    @cached_property
    def flagged_indices(self) -> list[int]:
        """Ascending."""
        return sorted(row.index for row in self.flagged)

    @cached_property
    def kept_indices(self) -> list[int]:
        """Every other row, ascending; unreadable ones are among them: nobody has seen a reason to drop them."""
        flagged = set(self.flagged_indices)
        return [index for index in range(self.rows) if index not in flagged]

    @property
    def expected_false_positives(self) -> tuple[float, float, float]:
        """Rows that would be flagged if all were harmless prompts like the measured ones: estimate, low, high."""
        rate = self.threshold.false_positives
        low, high = rate.interval
        return self.scored * rate.value, self.scored * low, self.scored * high

    def detection(self, poisoned: Sequence[bool], threshold: float | None = None) -> Detection:
        """Compare with the truth, one per row of the data; unreadable rows are left out.

        Args:
            threshold: another one than the report's.
        """
        pairs = [pair for pair in zip(self.scores, poisoned, strict=True) if pair[0] is not None]
        return detection(
            [float(score) for score, _ in pairs if score is not None],
            [truth for _, truth in pairs],
            self.threshold.value if threshold is None else threshold,
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        expected = dict(zip(("estimate", "low", "high"), self.expected_false_positives, strict=True))
        return {
            "format": FORMAT,
            "model": self.model,
            "rows": self.rows,
            "scored": self.scored,
            "turns": self.turns,
            "unprompted_turns": self.unprompted,
            "formats": dict(self.formats),
            "threshold": self.threshold.as_dict(),
            "expected_false_positive_rows": expected,
            "measured_on": self.prompts,
            "opening_tokens_from": self.opening_tokens_from,
            "refusal_opening_tokens": list(self.opening_tokens.refusal),
            "compliance_opening_tokens": list(self.opening_tokens.compliance),
            **{f"{kind}_opening_token_strings": list(strings) for kind, strings in self.opening_token_strings.items()},
            "flagged": [vars(row) for row in self.flagged],
            "unreadable": {str(index): reason for index, reason in self.unreadable.items()},
            "scores": [None if score is None else float(f"{score:.6g}") for score in self.scores],
        }
