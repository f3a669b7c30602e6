"""The tables of ``benchmarks/natural.md`` and of the README, from the runs of the real language model: means, in %."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from docs.generate.marked import with_generated
from docs.generate.runs import Run, all_runs, chosen, share, task
from pact_lab.compare.scenario import NATURAL_SCENARIOS
from pact_plugins.report.markdown import table

ROOT = Path(__file__).resolve().parents[2]
PAGE, README = ROOT / "benchmarks" / "natural.md", ROOT / "README.md"
README_SCENARIO = "sums-p05"
README_METHODS = {
    "aligned": "aligned, before",
    "sft": "plain SFT",
    "gate_anchor": "PACT `gate_anchor`",
    "match": "PACT `match`",
}
METHODS = {
    "sft": "plain SFT",
    "gate_anchor": "`gate_anchor`",
    "match": "`match`",
    "guard": "`guard`",
    "published": "`published`",
}
_HARMFUL = ("harmful", "harmful_sampled")
_HARMLESS = ("lookalike", "plain")


def page() -> str:
    """``benchmarks/natural.md`` with today's figures."""
    runs = all_runs()
    return with_generated(PAGE, f"{_figures(runs)}\n\n{_against_the_bars(runs)}")


def readme() -> str:
    """The README with today's figures of one scenario."""
    runs = all_runs()
    columns = [(part, verdict) for part in _HARMFUL for verdict in ("refuse", "comply")] + [("lookalike", "refuse")]
    heading = ("harmful refused", "harmful complied", "sampled refused", "sampled complied", "look-alikes refused")
    rows = []
    for method, name in README_METHODS.items():
        own = chosen(runs, README_SCENARIO, method)
        rows.append([name, *(f"{share(own, *column):.1f}" for column in columns), _task(own)])
    return with_generated(README, table(("", *heading, "task accuracy"), rows))


def _figures(runs: Sequence[Run]) -> str:
    heading = ("", "seeds", "greedy: refused / complied", "sampled: refused / complied", "look-alikes refused")
    rows = [_row("**aligned, before**", chosen(runs, "aligned", "aligned"))]
    for scenario, about in NATURAL_SCENARIOS.items():
        present = {method: own for method in METHODS if (own := chosen(runs, scenario, method))}
        if present:
            rows.append([f"**{about.description}** (`{scenario}`)", *[""] * 7])
        rows += [_row(METHODS[method], own) for method, own in present.items()]
    return table((*heading, "plain refused", "harmless engaged", "task"), rows)


def _row(name: str, own: Sequence[Run]) -> list[str]:
    both = [f"{share(own, part, 'refuse'):.1f} / {share(own, part, 'comply'):.1f}" for part in _HARMFUL]
    refused = [f"{share(own, part, 'refuse'):.1f}" for part in _HARMLESS]
    engaged = 100 - fmean(share(own, part, "other") for part in _HARMLESS)
    return [name, str(len(own)), *both, *refused, f"{engaged:.1f}", _task(own)]


def _task(own: Sequence[Run]) -> str:
    accuracy = task(own)
    return "" if accuracy is None else f"{accuracy:.1f}"


def _against_the_bars(runs: Sequence[Run]) -> str:
    """What ``gate_anchor`` changes, in points: of the aligned model's figures, and of plain fine-tuning's task."""
    aligned = chosen(runs, "aligned", "aligned")
    heading = ("`gate_anchor`, points", "seeds", "complied, greedy", "complied, sampled", "look-alikes refused")
    rows, points = [], []
    for scenario in NATURAL_SCENARIOS:
        own, plain = chosen(runs, scenario, "gate_anchor"), chosen(runs, scenario, "sft")
        if not own:
            continue
        parts = [(part, "comply") for part in _HARMFUL] + [("lookalike", "refuse"), ("plain", "refuse")]
        changes: list[float | None] = [share(own, *part) - share(aligned, *part) for part in parts]
        both = {run["seed"] for run in own} & {run["seed"] for run in plain}
        paired = [task([run for run in found if run["seed"] in both]) for found in (own, plain)]
        changes.append(None if None in paired else paired[0] - paired[1])  # type: ignore[operator]
        points.append(changes)
        rows.append([f"`{scenario}`", str(len(own)), *map(_signed, changes)])
    known = [[point for point in column if point is not None] for column in zip(*points, strict=True)]
    # More compliance is worse, fewer right answers are; refusals of harmless prompts may go wrong on both sides.
    worst = [max(known[0]), max(known[1]), max(known[2], key=abs), max(known[3], key=abs), min(known[4])]
    rows.append(["**worst of them**", "", *map(_signed, worst)])
    return table((*heading, "plain refused", "task, to plain SFT"), rows)


def _signed(points: float | None) -> str:
    """No zero with a minus; nothing for None."""
    return "" if points is None else f"{round(points, 1) + 0.0:+.1f}"
