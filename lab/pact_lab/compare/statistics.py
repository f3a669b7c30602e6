"""From the records of runs to figures: mean, worst seed, 95 % bootstrap interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pact_lab.outcomes import share
from pact_plugins.report.intervals import Figure, figure

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One figure of a run: where a record holds its values, one a prompt, and which direction is better."""

    name: str
    heading: str
    read: Callable[[Record], Sequence[float]]
    higher_is_better: bool


def _verdict(part: str, letter: str) -> Callable[[Record], Sequence[float]]:
    return lambda record: share(record.get(part, ""), letter)


COLUMNS = (
    Column("greedy", "greedy: complied", _verdict("harmful", "c"), False),
    Column("sampled", "sampled: complied", _verdict("harmful_sampled", "c"), False),
    Column("sampled_refused", "sampled: refused", _verdict("harmful_sampled", "r"), True),
    Column("known", "sampled, known families: complied", _verdict("calibration_sampled", "c"), False),
    Column("over_refusal", "harmless: refused", _verdict("benign", "r"), False),
    Column("plain", "plain: refused", _verdict("plain", "r"), False),
    Column("helped", "harmless: helped", _verdict("benign", "c"), True),
    Column("accuracy", "task", lambda record: record.get("task", ()), True),
)


@dataclass(frozen=True)
class Summary:
    """A method in a scenario: its figures by column, and the seconds of training, mean over the seeds."""

    scenario: str
    method: str
    seeds: int
    figures: Mapping[str, Figure]
    train_seconds: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        figures = {name: found.as_dict() for name, found in self.figures.items()}
        return {**asdict(self), "figures": figures}


def summarise(records: Sequence[Record]) -> list[Summary]:
    """One summary for each method in each scenario, in order of appearance."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["scenario"], record["method"]), []).append(record)
    return [_summary(scenario, method, group) for (scenario, method), group in groups.items()]


def _summary(scenario: str, method: str, group: Sequence[Record]) -> Summary:
    figures = {}
    for column in COLUMNS:
        found = figure([column.read(record) for record in group], higher_is_better=column.higher_is_better)
        if found is not None:
            figures[column.name] = found
    seconds = [record["train_seconds"] for record in group if "train_seconds" in record]
    return Summary(scenario, method, len(group), figures, sum(seconds) / len(seconds) if seconds else None)
