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

from pact_lab.bench.cases import CALIBRATION, PLAIN, PROFILED, Case, grid
from pact_lab.bench.profiles import breakdown
from pact_lab.bench.report import write_page, write_plots, write_table
from pact_lab.bench.rows import case_rows, is_measured
from pact_plugins.errors import PACTError
from pact_plugins.files import write_json, write_text

CALIBRATION_REFUSALS = 64
_MEMORY_STEPS, _PROFILED_STEPS = 2, 3


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
    """Measure the grid; ``NAME.json``, table and plots are written after every case.

    Cases that the file already holds, measured under the same conditions, are kept. One that cannot be measured, too
    large for the card say, keeps no other from being measured.

    Raises:
        BenchError: measurements failed; all others are kept.
    """
    cases = grid(settings.grid)
    failures: list[str] = []
    under = conditions(settings)
    results: dict[str, Any] = {"conditions": under, "rows": _measured_before(_file(settings, ".json"), under)}
    total = sum(_measurements(case, settings) for case in cases) + 1
    with tqdm(total=total, unit="measurement", dynamic_ncols=True) as bar:
        for case in cases:
            bar.set_description(case.name)
            if is_measured(results["rows"], case):
                bar.update(_measurements(case, settings))
                continue
            try:
                results["rows"] += _measure(case, settings, bar)
            except BenchError as error:
                failures.append(str(error))
                tqdm.write(str(error), file=sys.stderr)
            _write(results, settings)
        bar.set_description(CALIBRATION)
        wanted = cases[0].framework == "trl" and not cases[0].default
        if wanted and not any(row["mode"] == CALIBRATION for row in results["rows"]):
            centre = replace(cases[0], sequence_length=96)
            try:
                results["rows"].append(_worker(centre, what=CALIBRATION, refusals=CALIBRATION_REFUSALS))
            except BenchError as error:
                failures.append(str(error))
        bar.update()
    _write(results, settings)
    if failures:
        raise BenchError(f"{len(failures)} measurements failed, all others are kept: {'; '.join(failures)}")
    return results


def _write(results: dict[str, Any], settings: BenchSettings) -> None:
    write_json(_file(settings, ".json"), results)
    write_table(results, _file(settings, ".md"))
    write_plots(results, _file(settings, ".svg"))
    write_page(results, _file(settings, ".html"))


def _file(settings: BenchSettings, suffix: str) -> Path:
    return settings.output_path / f"{settings.grid}{suffix}"


def _measurements(case: Case, settings: BenchSettings) -> int:
    return 1 + len(_memory_groups(case)) + _is_profiled(case, settings)


def _is_profiled(case: Case, settings: BenchSettings) -> bool:
    """The first case of each training method."""
    return settings.profile and case == next(one for one in grid(settings.grid) if one.training == case.training)


def _measured_before(path: Path, under: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of an earlier, interrupted run on the same machine with the same versions; a damaged file holds none."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        # A row of an earlier version may not say all that a case is made of.
        rows = [row for row in earlier["rows"] if asdict(Case()).keys() <= row.keys()]
        same = all(earlier["conditions"][name] == value for name, value in under.items() if name != "date")
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return rows if same else []


def _measure(case: Case, settings: BenchSettings, bar: Any) -> list[dict[str, Any]]:
    timing = _worker(case, what="time", modes=case.modes, steps=settings.steps, warmup=settings.warmup)
    bar.update()
    memory: dict[str, Any] = {}
    for modes in _memory_groups(case):
        memory |= _worker(case, what="memory", modes=modes, steps=_MEMORY_STEPS)
        bar.update()
    if _is_profiled(case, settings):
        _profile(case, settings)
        bar.update()
    return case_rows(case, timing, memory)


def _memory_groups(case: Case) -> list[Sequence[str]]:
    """Modes that are measured in one process: a GPU's allocator tells them apart, a process has one peak only."""
    return [case.modes] if torch.cuda.is_available() else [(mode,) for mode in case.modes]


def _profile(case: Case, settings: BenchSettings) -> None:
    modes = (PLAIN, *(mode for mode in case.modes if mode in PROFILED))
    times = _worker(case, what="profile", modes=modes, steps=_PROFILED_STEPS, warmup=settings.warmup)
    shape = f"{case.training}-{case.size}-{case.vocab_size}-{case.sequence_length}"
    name = f"{settings.grid}-{shape}{case.kind.lower().replace(' ', '-')}"
    for mode in modes[1:]:
        table = breakdown(times[PLAIN], times[mode], steps=_PROFILED_STEPS)
        write_text(settings.output_path / f"{name}-{mode}.profile.md", table)


def _worker(case: Case, **request: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "pact_lab.bench.worker", json.dumps({"case": asdict(case), **request})]
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
    framework = grid(settings.grid)[0].framework
    names: Sequence[str] = ("pact-plugins", "torch", "transformers", framework, "peft")
    return {
        "device": device,
        "processor": platform.processor() or platform.machine(),
        "threads": _environment()["OMP_NUM_THREADS"],
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "steps": settings.steps,
        "warmup": settings.warmup,
        "profile": settings.profile,
        "versions": ", ".join(f"{name} {version(name)}" for name in names),
    }
