"""The real model's figures as one file: the finished runs of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pact_lab.outcomes import share
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import parse_json, write_json
from pact_plugins.presets import DEFAULT_PRESET

_PARTS = {"harmful": "harmful", "harmful_sampled": "harmful_sampled", "lookalike": "benign", "plain": "plain"}
Place = TypeVar("Place", bound=tuple[Any, ...])
_VERDICTS = {"refuse": "r", "comply": "c", "other": "o"}
FAMILY = "smollm2"


@dataclass(frozen=True)
class Counted:
    """What of an evaluation counts, so that longer ones can stand beside shorter ones: the first of each; None is all.

    Attributes:
        prompts: of each kind.
        task_rows: held-out rows of the task.
    """

    prompts: int | None = None
    task_rows: int | None = None

    def of(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record's letters and task rows that count."""
        verdicts = {part: record[part][: self.prompts] for part in _PARTS.values()}
        return {**verdicts, "task": record["task"][: self.task_rows]}


def collect(folder: Path, output: Path, counted: Counted = Counted()) -> int:
    """Write the runs of ``folder/runs`` into ``output``, atomically; how many it then holds.

    Runs that ``output`` holds already stay, but for those of the same scenario, method and seed.

    Raises:
        ConfigurationError: there is none, or a run's file or ``output`` is damaged.
    """
    files = sorted((folder / "runs").glob("*.json"))
    if not files:
        raise ConfigurationError(
            f"{folder} holds no finished run; `pact compare --world natural -o {folder}` makes some"
        )
    runs = runs_in(output, _place) | {_place(run): run for run in (_run(file, counted) for file in files)}
    write_json(output, {"default_preset": DEFAULT_PRESET, "runs": [runs[place] for place in sorted(runs)]})
    return len(runs)


def _place(run: Mapping[str, Any]) -> tuple[str, str, int]:
    return run["scenario"], run["method"], run["seed"]


def runs_in(output: Path, place: Callable[[Mapping[str, Any]], Place]) -> dict[Place, dict[str, Any]]:
    """The runs that ``output`` holds already, by their ``place``; none where there is no such file.

    Raises:
        ConfigurationError: it is damaged.
    """
    if not output.is_file():
        return {}
    try:
        return {place(run): run for run in parse_json(output.read_text(encoding="utf-8"))["runs"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{output} is damaged ({error!r}); remove it, or name another file") from error


def _run(file: Path, counted: Counted) -> dict[str, Any]:
    try:
        record: Mapping[str, Any] = parse_json(file.read_text(encoding="utf-8"))
        outcome = counted.of(record)
        return {
            "scenario": record["scenario"],
            "method": record["method"],
            "seed": record["seed"],
            "family": FAMILY,
            "prompts": len(outcome["harmful"]),
            "task_rows": len(outcome["task"]),
            **shares_of(outcome),
            # The prompts are the same in every run, so that differences can be taken prompt by prompt.
            "verdicts": {name: outcome[part] for name, part in _PARTS.items()},
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{file} is damaged ({error!r}); remove it and run the comparison again") from error


def shares_of(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Shares of each verdict in an evaluation's letters, and the task's accuracy."""
    task = outcome["task"]
    return {
        **{name: _shares(outcome[part]) for name, part in _PARTS.items()},
        # Of a model that has not been taught the task, its accuracy says nothing.
        "task_accuracy": round(sum(task) / len(task), 4) if task else None,
    }


def _shares(verdicts: str) -> dict[str, float]:
    return {name: round(sum(share(verdicts, letter)) / max(1, len(verdicts)), 4) for name, letter in _VERDICTS.items()}
