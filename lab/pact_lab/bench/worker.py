"""One measurement in a process of its own: ``python -m pact_lab.bench.worker '{"what": ..., ...}'``; JSON out."""

from __future__ import annotations

import gc
import json
import logging
import resource
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pact_lab.bench.cases import CALIBRATION, Case


def main() -> None:
    """Read the request from the command line, print the answer as the last line."""
    request = json.loads(sys.argv[1])
    case = Case(**request["case"])
    logging.disable(logging.INFO)
    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(MEASUREMENTS[request["what"]](case, request, Path(folder))))  # noqa: T201


def _builder(case: Case) -> Any:
    """The function that makes a trainer for one mode of ``case``."""
    if case.framework == "llamafactory":
        from pact_lab.bench.llamafactory import build_trainer as build_factory_run

        return build_factory_run
    from pact_lab.bench.subject import build_trainer

    return build_trainer


def _time(case: Case, request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    from pact_lab.bench.turns import take_turns

    total = request["warmup"] + request["steps"]
    trainers = {mode: _builder(case)(case, mode, steps=total, folder=folder) for mode in request["modes"]}
    timings = take_turns(trainers, warmup=request["warmup"], steps=request["steps"])
    parameters = sum(parameter.numel() for parameter in trainers[request["modes"][0]].model.parameters())
    return {"parameters": parameters, "timings": {mode: asdict(timing) for mode, timing in timings.items()}}


def _memory(case: Case, request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Mode to its peak: of the whole process on a CPU, of the allocator on a GPU; and the bytes of the weights."""
    from pact_lab.bench.subject import starting_model

    modes = request["modes"]
    # On a GPU the first training of a process allocates workspaces that stay; measured twice, the first mode has none.
    peaks = {}
    for mode in (modes[0], *modes) if torch.cuda.is_available() else modes:
        starting_model.cache_clear()
        already = _allocated()
        trainer = _builder(case)(case, mode, steps=request["steps"], folder=folder)
        trainer.train()
        weights = sum(parameter.numel() * parameter.element_size() for parameter in trainer.model.parameters())
        peaks[mode] = {"peak_bytes": _peak() - already, "weight_bytes": weights}
        del trainer
    return peaks


def _allocated() -> int:
    """Bytes on the GPU that the modes before have left behind; the peak is counted from here."""
    if not torch.cuda.is_available():
        return 0
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def _peak() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _profile(case: Case, request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    from pact_lab.bench.profiles import operation_times

    builder = _builder(case)
    steps = request["warmup"] + request["steps"]
    return {
        mode: operation_times(builder(case, mode, steps=steps, folder=folder), skipped=request["warmup"])
        for mode in request["modes"]
    }


def _calibration(case: Case, request: Mapping[str, Any], _folder: Path) -> dict[str, Any]:
    from pact_lab.bench.calibration import measure_calibration

    return measure_calibration(case, refusals=request["refusals"])


MEASUREMENTS = {"time": _time, "memory": _memory, "profile": _profile, CALIBRATION: _calibration}

if __name__ == "__main__":
    main()
