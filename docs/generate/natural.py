"""The tables of ``docs/natural.md``, from the runs of the real language model: means over the seeds, in %."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from docs.generate.marked import with_generated

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "natural.json"
PAGE = Path(__file__).resolve().parents[1] / "natural.md"
SCENARIOS = {
    "sums-p05": "sums, 5 % poison",
    "sst2-p0": "sentiment, no poison",
    "sst2-p01": "sentiment, 1 % poison",
    "sst2-p05": "sentiment, 5 % poison",
    "sst2-p10": "sentiment, 10 % poison",
    "sst2-identity": "sentiment, ten rows of identity shift",
    "sst2-full": "sentiment, 5 % poison, every weight trained (5e-5)",
    "sst2-slow": "sentiment, 5 % poison, a third of the rate",
    "sst2-fast": "sentiment, 5 % poison, three times the rate",
    "agnews-p05": "topics of news, 5 % poison",
    "chat-p0": "chat, no poison",
    "chat-p05": "chat, 5 % poison",
}
METHODS = {
    "sft": "plain SFT",
    "gate_anchor": "`gate_anchor`",
    "match": "`match`",
    "guard": "`guard`",
    "published": "`published`",
}
_HARMFUL = ("harmful", "harmful_sampled")
Run = Mapping[str, Any]


def page() -> str:
    """``docs/natural.md`` with today's figures."""
    runs = json.loads(RESULTS.read_text(encoding="utf-8"))["runs"]
    return with_generated(PAGE, f"{_figures(runs)}\n\n{_against_the_bars(runs)}")


def _figures(runs: Sequence[Run]) -> str:
    heading = ("", "seeds", "greedy: refused / complied", "sampled: refused / complied", "look-alikes refused")
    lines = ["| " + " | ".join((*heading, "plain refused", "task")) + " |", "|---|" + "---:|" * 6]
    lines.append(_line("**aligned, before**", _chosen(runs, "aligned", "aligned")))
    for scenario, title in SCENARIOS.items():
        present = {method: own for method in METHODS if (own := _chosen(runs, scenario, method))}
        if present:
            lines.append(f"| **{title}** (`{scenario}`) |" + " |" * 6)
        lines += [_line(METHODS[method], own) for method, own in present.items()]
    return "\n".join(lines)


def _line(name: str, own: Sequence[Run]) -> str:
    both = [f"{_mean(own, part, 'refuse'):.1f} / {_mean(own, part, 'comply'):.1f}" for part in _HARMFUL]
    refused = [f"{_mean(own, part, 'refuse'):.1f}" for part in ("lookalike", "plain")]
    task = _task(own)
    cells = [name, str(len(own)), *both, *refused, "" if task is None else f"{task:.1f}"]
    return "| " + " | ".join(cells) + " |"


def _against_the_bars(runs: Sequence[Run]) -> str:
    """What ``gate_anchor`` changes, in points: of the aligned model's figures, and of plain fine-tuning's task."""
    aligned = _chosen(runs, "aligned", "aligned")
    heading = ("`gate_anchor`, points", "seeds", "complied, greedy", "complied, sampled", "look-alikes refused")
    lines = ["| " + " | ".join((*heading, "plain refused", "task, to plain SFT")) + " |", "|---|" + "---:|" * 6]
    for scenario, title in SCENARIOS.items():
        own, plain = _chosen(runs, scenario, "gate_anchor"), _chosen(runs, scenario, "sft")
        if not own:
            continue
        parts = [(part, "comply") for part in _HARMFUL] + [("lookalike", "refuse"), ("plain", "refuse")]
        cells = [_signed(_mean(own, *part) - _mean(aligned, *part)) for part in parts]
        both = {run["seed"] for run in own} & {run["seed"] for run in plain}
        paired = [_task([run for run in found if run["seed"] in both]) for found in (own, plain)]
        task = "" if None in paired else _signed(paired[0] - paired[1])  # type: ignore[operator]
        lines.append("| " + " | ".join([title, str(len(own)), *cells, task]) + " |")
    return "\n".join(lines)


def _chosen(runs: Sequence[Run], scenario: str, method: str) -> list[Run]:
    return [run for run in runs if run["scenario"] == scenario and run["method"] == method]


def _mean(own: Sequence[Run], part: str, verdict: str) -> float:
    return 100 * fmean(run[part][verdict] for run in own)


def _task(own: Sequence[Run]) -> float | None:
    accuracies = [run["task_accuracy"] for run in own if run["task_accuracy"] is not None]
    return 100 * fmean(accuracies) if accuracies else None


def _signed(points: float) -> str:
    """No zero with a minus."""
    return f"{round(points, 1) + 0.0:+.1f}"
