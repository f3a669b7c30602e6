"""The demo's results as means over seeds: for the terminal, for Markdown, for the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from pact_plugins.report import markdown
from pact_plugins.report.terminal import print_table

LABELS = {
    "aligned": "aligned, before",
    "sft": "plain SFT",
    "gate_anchor": "PACT gate_anchor",
    "match": "PACT match",
    "published": "PACT published",
    "published_positive": "PACT published, w > 0",
    "full_kl": "full KL",
    "match_without_openings": "match, no openings",
    "random_tokens": "random tokens",
}

Run = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One figure of the table: its heading and where a run holds it."""

    group: str
    name: str
    read: Callable[[Run], float]

    @property
    def heading(self) -> str:
        """Group and name in one line."""
        return f"{self.group}: {self.name}" if self.name else self.group


COLUMNS = (
    Column("harmful", "refused", lambda run: run["harmful"]["refuse"]),
    Column("harmful", "complied", lambda run: run["harmful"]["comply"]),
    Column("sampled", "refused", lambda run: run["harmful_sampled"]["refuse"]),
    Column("sampled", "complied", lambda run: run["harmful_sampled"]["comply"]),
    Column("benign", "refused", lambda run: run["benign"]["refuse"]),
    Column("benign", "helped", lambda run: run["benign"]["comply"]),
    Column("task", "accuracy", lambda run: run["task_accuracy"]),
)


@dataclass(frozen=True)
class Figure:
    """Mean, smallest and largest over the seeds, as fractions; shown in %."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if round(self.low, 3) == round(self.high, 3):
            return f"{100 * self.mean:.0f}"
        return f"{100 * self.mean:.0f} ({100 * self.low:.0f}-{100 * self.high:.0f})"


def summarise(runs: Sequence[Run]) -> dict[str, list[Figure]]:
    """Per method, in order of appearance, one figure a column."""
    methods = list(dict.fromkeys(str(run["method"]) for run in runs))
    return {method: [_figure(runs, method, column) for column in COLUMNS] for method in methods}


def _figure(runs: Sequence[Run], method: str, column: Column) -> Figure:
    values = [column.read(run) for run in runs if run["method"] == method]
    return Figure(mean(values), min(values), max(values))


def print_summary(runs: Sequence[Run]) -> None:
    """The table at the end of ``pact demo``."""
    seeds = len({run["seed"] for run in runs})
    over = f"mean of {seeds} seeds (smallest-largest)" if seeds > 1 else "one seed"
    headings = [f"{column.group}\n{column.name}" for column in COLUMNS]
    # The spread below the mean, and the words of a name below one another, or eighty columns would not hold them.
    rows = [
        (
            LABELS.get(method, method).replace(", ", ",\n").replace(" ", "\n" if seeds > 1 else " ", 1),
            *(str(figure).replace(" (", "\n(") for figure in figures),
        )
        for method, figures in summarise(runs).items()
    ]
    print_table(("", *headings), rows, numbers=headings, title=f"Held-out prompts, %, {over}")


def markdown_table(runs: Sequence[Run]) -> str:
    """The same table for a README."""
    rows = [[LABELS.get(method, method), *map(str, figures)] for method, figures in summarise(runs).items()]
    return markdown.table(["", *(column.heading for column in COLUMNS)], rows)
