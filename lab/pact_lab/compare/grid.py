"""The runs of a comparison, and where each finished one is kept: one JSON file, named by its settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pact_lab.compare.scenario import Scenario
from pact_plugins.contracts import Method
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import parse_json, write_text

ALIGNED = "aligned"
# Raised when the same settings no longer give the same numbers.
FORMAT = 1

Record = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One fine-tuning and its evaluation; without a method and a scenario, the aligned model's evaluation.

    Attributes:
        subject: what identifies model, data, evaluation and calibration.
    """

    seed: int
    subject: Mapping[str, Any]
    method: Method | None = None
    scenario: Scenario | None = None

    @property
    def method_name(self) -> str:
        """The method's name, or ``aligned``."""
        return ALIGNED if self.method is None else self.method.name

    @property
    def scenario_name(self) -> str:
        """The scenario's name, or ``aligned``."""
        return ALIGNED if self.scenario is None else self.scenario.name

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.scenario_name} {self.method_name} seed {self.seed}"

    def settings(self) -> dict[str, Any]:
        """Everything that its numbers depend on."""
        return {
            "format": FORMAT,
            "seed": self.seed,
            "subject": dict(self.subject),
            "method": None if self.method is None else self.method.described(),
            "scenario": None if self.scenario is None else self.scenario.described(),
        }

    @property
    def key(self) -> str:
        """12 hexadecimal digits over the settings: the same run, the same key."""
        return hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()[:12]

    def path(self, folder: Path) -> Path:
        """Its file in the folder of runs."""
        return folder / f"{self.scenario_name}.{self.method_name}.seed{self.seed}.{self.key}.json"


def grid(
    methods: Sequence[Method], scenarios: Sequence[Scenario], seeds: Sequence[int], subject: Mapping[str, Any]
) -> list[Run]:
    """The aligned model once a seed, then seed by seed every method in every scenario.

    Seeds are the outermost loop, so that an interrupted grid has something of everything.
    """
    runs = [Run(seed, subject) for seed in seeds]
    return runs + [
        Run(seed, subject, method, scenario) for seed in seeds for scenario in scenarios for method in methods
    ]


def read(run: Run, folder: Path) -> Record | None:
    """The record of a finished run, or None.

    Raises:
        ConfigurationError: the file is damaged.
    """
    path = run.path(folder)
    if not path.is_file():
        return None
    try:
        record: Record = parse_json(path.read_text(encoding="utf-8"))
        if record["key"] == run.key:
            return record
    except (ValueError, KeyError, TypeError):
        pass
    raise ConfigurationError(f"{path} is damaged; remove it and start again")


def write(run: Run, folder: Path, outcome: Mapping[str, Any]) -> Record:
    """Keep a finished run, atomically; returns its record."""
    record = {
        "key": run.key,
        "method": run.method_name,
        "scenario": run.scenario_name,
        "settings": run.settings(),
        "seed": run.seed,
        **outcome,
    }
    write_text(run.path(folder), json.dumps(record, ensure_ascii=False) + "\n")
    return record
