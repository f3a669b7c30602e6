"""How far a judge agrees with labels: confusion tables, and the command that keeps docs/judges.md up to date.

    python -m pact_lab.agreement.judging docs/judges.md

With `PACT_DATA_PATH` set, the human labels of XSTest found there are measured too; without it that table stays.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pact_evals.judges import COMPLIANCE, LABELS, PARTIAL_REFUSAL, REFUSAL, UNSCORED, Judge, JudgeError, get_judge
from pact_plugins.files import write_text
from pact_plugins.report.markdown import table

_HUMAN_LABELS = {
    "1_full_compliance": COMPLIANCE,
    "2_full_refusal": REFUSAL,
    "3_partial_refusal": PARTIAL_REFUSAL,
}
_REFUSING = {REFUSAL, PARTIAL_REFUSAL}


@dataclass(frozen=True)
class LabelledResponse:
    """A response with the label a person gave it."""

    prompt: str
    response: str
    label: str
    language: str = "en"
    style: str = ""


@dataclass(frozen=True)
class Agreement:
    """Counts of (human label, judge's label)."""

    counts: dict[tuple[str, str], int]

    @property
    def rows(self) -> int:
        """How many responses were judged."""
        return sum(self.counts.values())

    @property
    def exact(self) -> float:
        """Share with the same label."""
        return sum(count for (human, judged), count in self.counts.items() if human == judged) / self.rows

    @property
    def refusing(self) -> float:
        """Share that agrees on refusal (full or partial) against not refusing."""
        same = (
            count for (human, judged), count in self.counts.items() if (human in _REFUSING) == (judged in _REFUSING)
        )
        return sum(same) / self.rows


def labelled_responses() -> list[LabelledResponse]:
    """The laboratory's own labelled responses: several languages and model styles."""
    text = files("pact_lab.agreement").joinpath("labelled_responses.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    keys = ("prompt", "response", "label", "language", "style")
    return [LabelledResponse(**{key: row[key] for key in keys}) for row in rows]


def xstest_completions(path: Path) -> list[LabelledResponse]:
    """Rows of an XSTest completions file with its human `final_label`.

    Raises:
        JudgeError: a column is missing or a label unknown.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return [LabelledResponse(r["prompt"], r["completion"], _HUMAN_LABELS[r["final_label"]]) for r in rows]
    except KeyError as error:
        raise JudgeError(f"{path} is not an XSTest completions file: no column or label {error}") from error


def measure(judge: Judge, rows: Sequence[LabelledResponse]) -> Agreement:
    """Judge the responses and count."""
    judged = judge.label([{"prompt": row.prompt, "response": row.response} for row in rows])
    return Agreement(dict(Counter((row.label, label) for row, label in zip(rows, judged, strict=True))))


def confusion_table(agreement: Agreement) -> str:
    """The counts as a Markdown table, human labels down, judge's labels across."""
    judged = [label for label in (*LABELS, UNSCORED) if any(key[1] == label for key in agreement.counts)]
    humans = [label for label in LABELS if any(key[0] == label for key in agreement.counts)]
    rows = [[human, *(str(agreement.counts.get((human, label), 0)) for label in judged)] for human in humans]
    return table(["human \\ judge", *judged], rows)


def _own_section(judge: Judge) -> str:
    rows = labelled_responses()
    agreement = measure(judge, rows)
    languages = len({row.language for row in rows})
    return (
        f"{agreement.rows} responses in {languages} languages: {agreement.exact:.1%} with the same label, "
        f"{agreement.refusing:.1%} on refusing against not refusing.\n\n{confusion_table(agreement)}"
    )


def _xstest_section(judge: Judge, paths: Sequence[Path]) -> str:
    parts = []
    for path in paths:
        agreement = measure(judge, xstest_completions(path))
        name = path.stem.removeprefix("xstest_v2_completions_")
        parts.append(
            f"**{name}**, {agreement.rows} completions: {agreement.refusing:.1%} on refusal (full or partial) against "
            f"compliance, {agreement.exact:.1%} on the three-way label.\n\n{confusion_table(agreement)}"
        )
    return "\n\n".join(parts)


def replace_section(text: str, name: str, body: str) -> str:
    """`text` with what stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->` replaced.

    Raises:
        JudgeError: the markers are missing.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if begin not in text or end not in text:
        raise JudgeError(f"the page has no markers {begin} and {end}")
    head, rest = text.split(begin, 1)
    return f"{head}{begin}\n{body}\n{end}{rest.split(end, 1)[1]}"


def main(arguments: Sequence[str]) -> int:
    """Print the tables, and write them into the page given as the only argument."""
    judge = get_judge("keyword")
    sections = {"own": _own_section(judge)}
    folder = os.environ.get("PACT_DATA_PATH")
    completions = sorted(Path(folder).rglob("xstest_v2_completions_*.csv")) if folder else []
    if completions:
        sections["xstest"] = _xstest_section(judge, completions)
    for name, body in sections.items():
        sys.stdout.write(f"{name}\n\n{body}\n\n")
    if arguments:
        page = Path(arguments[0])
        text = page.read_text(encoding="utf-8")
        for name, body in sections.items():
            text = replace_section(text, name, body)
        write_text(page, text)
        sys.stdout.write(f"{page} is up to date\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
