"""From raw measurements to rows of ratios: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from pact_lab.bench.cases import CACHED, CHECKS, NAIVE, ONLINE_FULL, PLAIN, PLAIN_LOGITS, Case

EPOCHS = 3


def paired_ratio(values: Sequence[float], baseline: Sequence[float]) -> float:
    """Median of the ratios round by round; what slows a whole round cancels out."""
    return median(value / base for value, base in zip(values, baseline, strict=True))


def case_rows(case: Case, timing: Mapping[str, Any], memory: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """One row a mode.

    Args:
        timing: what the worker's ``time`` printed.
        memory: what the worker's ``memory`` printed, of all modes.
    """
    timings, plain = timing["timings"], timing["timings"][PLAIN]
    rows = []
    for mode, values in timings.items():
        row = {
            "mode": mode,
            **asdict(case),
            "parameters": timing["parameters"],
            "time_ratio": paired_ratio(values["wall"], plain["wall"]),
            "cpu_ratio": paired_ratio(values["cpu"], plain["cpu"]),
            "step_seconds": median(values["wall"]),
            "steps": len(values["wall"]),
            "preparation_seconds": max(0.0, values["preparation"] - plain["preparation"]),
            "memory_ratio": memory[mode]["peak_bytes"] / memory[PLAIN]["peak_bytes"],
            "peak_bytes": memory[mode]["peak_bytes"],
        }
        if mode == CACHED:
            row["three_epochs_ratio"] = with_preparation(values, plain)
        if mode == ONLINE_FULL:
            without_copy = memory[mode]["peak_bytes"] - memory[mode]["weight_bytes"]
            row["memory_ratio_without_copy"] = without_copy / memory[PLAIN]["peak_bytes"]
        if mode == NAIVE:
            row["time_ratio_to_plain_logits"] = paired_ratio(values["wall"], timings[PLAIN_LOGITS]["wall"])
            row["memory_ratio_to_plain_logits"] = memory[mode]["peak_bytes"] / memory[PLAIN_LOGITS]["peak_bytes"]
        if mode in CHECKS:
            row["check_steps"] = paired_ratio(values["wall"], timings[CHECKS[mode]]["wall"]) - 1
        rows.append(row)
    return rows


def is_measured(rows: Iterable[Mapping[str, Any]], case: Case) -> bool:
    """Whether every mode of ``case`` has its row."""
    shape = asdict(case)
    found = {row["mode"] for row in rows if all(row.get(key) == value for key, value in shape.items())}
    return found >= set(case.modes)


def with_preparation(values: Mapping[str, Any], plain: Mapping[str, Any]) -> float:
    """Ratio of a run of three epochs, the building of the cache included; it was built for the rows of one epoch."""
    steps = EPOCHS * values["epoch_steps"]
    building = max(0.0, values["preparation"] - plain["preparation"])
    return (building + steps * median(values["wall"])) / (steps * median(plain["wall"]))
