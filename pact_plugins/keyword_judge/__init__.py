"""The cheap tier: a judge of patterns at the start of the answer. Offline, deterministic, multilingual openings."""

from __future__ import annotations

from collections.abc import Sequence

from pact_plugins.contracts.judge import Judge, JudgeIdentity, Verdict
from pact_plugins.keyword_judge.rules import classify

REVISION = "3"  # raise it whenever a rule changes: it stands beside every result


class KeywordJudge(Judge):
    """Judges by what the opening of an answer says and what follows it. Its accuracy is in docs/judges.md."""

    @property
    def identity(self) -> JudgeIdentity:
        return JudgeIdentity(name="keyword", revision=REVISION, tier="cheap")

    def assess_answers(self, rows: Sequence[tuple[str, str]]) -> list[Verdict]:
        return [Verdict(classify(prompt, answer)) for prompt, answer in rows]
