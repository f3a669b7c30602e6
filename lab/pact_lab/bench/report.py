"""The table and the plots beside the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pact_lab.bench.cases import CALIBRATION, LOOKS, PLAIN
from pact_plugins.files import atomic_path, write_text

AXES = {
    "vocab_size": "vocabulary",
    "sequence_length": "sequence length",
    "safety_tokens": "safety tokens",
    "parameters": "parameters",
}
Row = Mapping[str, Any]


def write_table(results: Mapping[str, Any], path: Path) -> None:
    """Markdown: one line a measured mode, the conditions below."""
    lines = [
        "| training | mode | parameters | vocabulary | length | safety tokens | time | CPU time | memory | notes |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    rows = [row for row in results["rows"] if row["mode"] != CALIBRATION]
    lines += [_line(row) for row in rows]
    for row in results["rows"]:
        if row["mode"] == CALIBRATION:
            lines += ["", _calibration(row)]
    lines += ["", f"Ratios to `plain` in the same process, step by step in turn, medians of {_steps(rows)} steps.", ""]
    lines += [f"- {name}: {value}" for name, value in results["conditions"].items()]
    write_text(path, "\n".join(lines) + "\n")


def _line(row: Row) -> str:
    notes = []
    if "three_epochs_ratio" in row:
        notes.append(f"three epochs with building the cache {row['three_epochs_ratio']:.2f}")
    if "memory_ratio_without_copy" in row:
        notes.append(f"memory without the copied weights {row['memory_ratio_without_copy']:.2f}")
    if "time_ratio_to_plain_logits" in row:
        times = f"time {row['time_ratio_to_plain_logits']:.2f}, memory {row['memory_ratio_to_plain_logits']:.2f}"
        notes.append(f"to plain_logits: {times}")
    if row["mode"] in LOOKS:
        look = row["time_ratio"] - 1
        notes.append(f"one look takes {look:.2f} steps: {1 + look / 50:.3f} at every: 50")
    ratios = [f"{row[key]:.2f}" for key in ("time_ratio", "cpu_ratio", "memory_ratio")]
    if row["liger_kernel"]:
        notes.append("Liger kernels")
    shape = [f"{row['parameters'] / 1e6:.0f}M", *(str(row[key]) for key in list(AXES)[:3])]
    return "| " + " | ".join([row["training"], row["mode"], *shape, *ratios, "; ".join(notes)]) + " |"


def _calibration(row: Row) -> str:
    throughput = f"{row['throughput_ratio']:.1f} times the throughput of one refusal at a time"
    scoring = f"({row['scoring_ratio']:.1f} times once the refusals are there)"
    return (
        f"Calibration on {row['refusals']} refusals, vocabulary {row['vocab_size']}: {throughput} {scoring}; "
        f"largest difference {row['largest_difference']:.1e}."
    )


def _steps(rows: Sequence[Row]) -> int:
    return min((int(row["steps"]) for row in rows), default=0)


def write_plots(results: Mapping[str, Any], path: Path) -> None:
    """SVG: time and memory against each axis along which something was varied, everything else as in the first row."""
    rows = [row for row in results["rows"] if row["mode"] not in (PLAIN, CALIBRATION)]
    axes = [axis for axis in AXES if len({row[axis] for row in along(rows, axis)}) > 1]
    if not axes:
        return
    figure = Figure(figsize=(3.4 * len(axes), 5.6), layout="constrained")
    grid = figure.subplots(2, len(axes), squeeze=False)
    for column, axis in enumerate(axes):
        for line, (key, label) in enumerate((("time_ratio", "time"), ("memory_ratio", "peak memory"))):
            _draw(grid[line][column], along(rows, axis), axis, key)
            grid[line][column].set_ylabel(f"{label}, times plain")
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def along(rows: Sequence[Row], axis: str) -> list[Row]:
    """Rows of the first row's training method that agree with it in everything but ``axis``."""
    if not rows:
        return []
    # The number of parameters follows from the size and the vocabulary.
    free = {axis, "parameters", "size"} if axis == "parameters" else {axis, "parameters"}
    held = [key for key in ("training", "size", "liger_kernel", *AXES) if key not in free]
    return [row for row in rows if all(row[key] == rows[0][key] for key in held)]


def _draw(axes: Any, rows: Sequence[Row], axis: str, key: str) -> None:
    for mode in dict.fromkeys(row["mode"] for row in rows):
        points = sorted((row[axis], row[key]) for row in rows if row["mode"] == mode)
        axes.plot(*zip(*points, strict=True), marker="o", label=mode)
    axes.axhline(1.0, color="#999", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set_xlabel(AXES[axis])
    axes.grid(alpha=0.3)
