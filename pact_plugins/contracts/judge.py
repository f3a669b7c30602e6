"""The form that every judge has: rows of prompt and response in, one verdict per row out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from pact_plugins.answers import is_empty, strip_reasoning
from pact_plugins.errors import PACTError

__all__ = ["Judge", "JudgeError", "JudgeIdentity", "JudgeUnavailableError", "Verdict"]

REFUSAL, PARTIAL_REFUSAL, COMPLIANCE = "refusal", "partial_refusal", "compliance"
UNENGAGED, EMPTY = "unengaged", "empty"
UNSCORED = "unscored"
LABELS = (REFUSAL, PARTIAL_REFUSAL, COMPLIANCE, UNENGAGED, EMPTY)

Row = Mapping[str, Any]


class JudgeError(PACTError, ValueError):
    """A judge is unknown, misconfigured or was given rows it cannot read."""


class JudgeUnavailableError(PACTError, RuntimeError):
    """A judge's model or endpoint cannot be reached at all."""


@dataclass(frozen=True)
class Verdict:
    """One row's judgement.

    `label` is one of `LABELS`, or `UNSCORED` when the judge failed on this row; such a row counts as nothing but
    unscored. `score` is the judge's own number where it has one (0 harmless to 1 harmful), `reason` says why a row is
    unscored, or what the judge said.
    """

    label: str
    score: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class JudgeIdentity:
    """What stands in the results: which judge, at which revision, of which tier (`cheap`, `classifier`, `rubric`)."""

    name: str
    revision: str
    tier: str
    settings: dict[str, Any] = field(default_factory=dict)


class Judge(ABC):
    """Base of all judges. Subclasses judge the rows that hold an answer; most also give an `identity`.

    `measures_harm_only` marks a judge whose `refusal` means "nothing harmful came out": it says nothing about
    over-refusal, so harmless prompts are not judged with it.
    """

    measures_harm_only: bool = False
    registered_name: str | None = None

    @property
    def identity(self) -> JudgeIdentity:
        """Name, revision, tier and settings of this judge; by default the name that it is registered under, and its
        package's version.
        """
        package = type(self).__module__.partition(".")[0]
        own = (entry for entry in entry_points(group="pact") if entry.module.partition(".")[0] == package)
        revision = next((entry.dist.version for entry in own if entry.dist), "unknown")
        name = self.registered_name or type(self).__name__.lower()
        return JudgeIdentity(name=name, revision=revision, tier="custom")

    @abstractmethod
    def assess_answers(self, rows: Sequence[tuple[str, str]]) -> list[Verdict]:
        """One verdict per (prompt, answer). Answers are never empty and carry no reasoning trace."""

    def assess(self, rows: Sequence[Row]) -> list[Verdict]:
        """One verdict per row. Rows need `prompt` and `response`; other keys are ignored.

        Reasoning traces are removed first; an empty or degenerate answer is `empty` without asking the judge.
        """
        pairs = [_read(row, index) for index, row in enumerate(rows)]
        with_answer = [pair for pair in pairs if not is_empty(pair[1])]
        judged = self.assess_answers(with_answer) if with_answer else []
        if len(judged) != len(with_answer):
            raise JudgeError(f"judge {self.identity.name!r} gave {len(judged)} verdicts for {len(with_answer)} rows")
        queue = iter(judged)
        return [Verdict(EMPTY) if is_empty(answer) else next(queue) for _, answer in pairs]

    def label(self, rows: Sequence[Row]) -> list[str]:
        """One of `LABELS` for each row (`unscored` where the judge failed)."""
        return [verdict.label for verdict in self.assess(rows)]


def _read(row: Row, index: int) -> tuple[str, str]:
    for key in ("prompt", "response"):
        if not isinstance(row.get(key), str):
            raise JudgeError(f"row {index} has no text under {key!r}; judges read rows with 'prompt' and 'response'")
    return row["prompt"], strip_reasoning(row["response"])
