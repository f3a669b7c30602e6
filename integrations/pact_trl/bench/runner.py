"""The grid from start to end: every measurement in a process of its own, results written after each case."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from pact_plugins.errors import PACTError
from pact_plugins.files import write_json, write_text
from pact_trl.bench.cases import Case, grid
from pact_trl.bench.report import write_plots, write_table
from pact_trl.bench.rows import case_rows

CALIBRATION_REFUSALS = 48
_MEMORY_STEPS = 2


class BenchError(PACTError, RuntimeError):
    """A measurement's own process failed."""


@dataclass(frozen=True)
class BenchSettings:
    """What ``pact bench`` was asked to do."""

    output_path: Path
    grid: str
    steps: int
    warmup: int
    profile: bool = False


def run(settings: BenchSettings) -> dict[str, Any]:
    """Measure the grid; ``NAME.json`` is written after every case, table and plots at the end.

    Raises:
        BenchError: a measurement failed; what was measured before it is kept.
    """
    cases = grid(settings.grid)
    results: dict[str, Any] = {"conditions": conditions(settings), "rows": []}
    total = sum(1 + len(case.modes) * (2 if settings.profile else 1) for case in cases) + 1
    with tqdm(total=total, unit="measurement", dynamic_ncols=True) as bar:
        for case in cases:
            bar.set_description(case.name)
            results["rows"] += _measure(case, settings, bar)
            write_json(_file(settings, ".json"), results)
        centre = replace(cases[0], sequence_length=96)
        bar.set_description("calibration")
        results["rows"].append(_worker(centre, what="calibration", refusals=CALIBRATION_REFUSALS))
        bar.update()
    write_json(_file(settings, ".json"), results)
    write_table(results, _file(settings, ".md"))
    write_plots(results, _file(settings, ".svg"))
    return results


def _file(settings: BenchSettings, suffix: str) -> Path:
    return settings.output_path / f"{settings.grid}{suffix}"


def _measure(case: Case, settings: BenchSettings, bar: Any) -> list[dict[str, Any]]:
    timing = _worker(case, what="time", modes=case.modes, steps=settings.steps, warmup=settings.warmup)
    bar.update()
    memory = {}
    for mode in case.modes:
        memory[mode] = _worker(case, what="memory", mode=mode, steps=_MEMORY_STEPS)
        bar.update()
        if settings.profile:
            table = _worker(case, what="profile", mode=mode, steps=_MEMORY_STEPS)["table"]
            name = f"{settings.grid}-{case.training}-{case.size}-{mode}.profile.txt"
            write_text(settings.output_path / name, table)
            bar.update()
    return case_rows(case, timing, memory)


def _worker(case: Case, **request: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "pact_trl.bench.worker", json.dumps({"case": asdict(case), **request})]
    finished = subprocess.run(command, capture_output=True, text=True, env=_environment())
    if finished.returncode != 0:
        last = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchError(f"measuring {request['what']} of {case.name} failed (status {finished.returncode}): {last}")
    answer: dict[str, Any] = json.loads(finished.stdout.strip().splitlines()[-1])
    return answer


def _environment() -> Mapping[str, str]:
    """One thread a core: more of them wait for each other and blur the ratios."""
    return {"OMP_NUM_THREADS": str(os.cpu_count() or 1), "TOKENIZERS_PARALLELISM": "false", **os.environ}


def conditions(settings: BenchSettings) -> dict[str, Any]:
    """Machine, versions and date."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"
    names: Sequence[str] = ("pact-plugins", "torch", "transformers", "trl", "peft")
    return {
        "device": device,
        "processor": platform.processor() or platform.machine(),
        "threads": _environment()["OMP_NUM_THREADS"],
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "steps": settings.steps,
        "versions": ", ".join(f"{name} {version(name)}" for name in names),
    }
