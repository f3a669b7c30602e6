"""The table and the plots beside the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from pact_lab.bench.cases import CALIBRATION, PLAIN, REFERENCE_CHECK, UNUSUAL
from pact_plugins.config import PACTConfig
from pact_plugins.drift_watch import DriftWatchSettings
from pact_plugins.files import atomic_path, write_text
from pact_plugins.report.charts import COLORS, as_svg, new_figure
from pact_plugins.report.page import Bar, markup, render

AXES = {
    "vocab_size": "vocabulary",
    "sequence_length": "sequence length",
    "safety_tokens": "safety tokens",
    "parameters": "parameters",
}
HEADER = (
    *("training", "mode", "parameters", "vocabulary", "length", "safety tokens"),
    *("time", "CPU time", "memory", "notes"),
)
Row = Mapping[str, Any]


def write_table(results: Mapping[str, Any], path: Path) -> None:
    """Markdown: one line a measured mode, the conditions below."""
    rows = [row for row in results["rows"] if row["mode"] != CALIBRATION]
    lines = ["| " + " | ".join(HEADER) + " |", "|---|---|---:|---:|---:|---:|---:|---:|---:|---|"]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    for line in _calibrations(results):
        lines += ["", line]
    lines += ["", f"Ratios to `plain` in the same process, step by step in turn, medians of {_steps(rows)} steps.", ""]
    lines += [f"- {name}: {value}" for name, value in results["conditions"].items()]
    write_text(path, "\n".join(lines) + "\n")


def write_page(results: Mapping[str, Any], path: Path) -> None:
    """The same as one HTML page, the most usual mode's cost first."""
    rows = [row for row in results["rows"] if row["mode"] != CALIBRATION]
    modes = list(dict.fromkeys(row["mode"] for row in rows if row["mode"] != PLAIN))
    glance = {}
    for key, title in (("time_ratio", "Time of a step, times plain"), ("memory_ratio", "Peak memory, times plain")):
        medians = {mode: median(row[key] for row in rows if row["mode"] == mode) for mode in modes}
        longest = max((1.0, *medians.values()))
        glance[title] = [Bar(mode, value / longest, f"{value:.2f}") for mode, value in {PLAIN: 1.0, **medians}.items()]
    page = render(
        __package__,
        "page.html.jinja",
        headline=_headline(rows, modes),
        steps=_steps(rows),
        glance=glance,
        curves={caption: markup(chart) for caption, chart in _charts(results).items()},
        header=HEADER,
        rows=[_cells(row) for row in rows],
        calibrations=_calibrations(results),
        conditions=results["conditions"].items(),
    )
    write_text(path, page)


def _headline(rows: Sequence[Row], modes: Sequence[str]) -> str:
    mode = next((name for name in ("online_lora", "online_full") if name in modes), next(iter(modes), None))
    if mode is None:
        return "Nothing measured yet"
    own = [row for row in rows if row["mode"] == mode]
    times, memory = (median(row[key] for row in own) for key in ("time_ratio", "memory_ratio"))
    return f"{mode}: {times:.2f} times plain's time, {memory:.2f} times its memory (medians of {len(own)} cases)"


def _charts(results: Mapping[str, Any]) -> dict[str, str]:
    rows = [row for row in results["rows"] if row["mode"] not in (PLAIN, CALIBRATION)]
    charts = {}
    for axis, name in AXES.items():
        line = along(rows, axis)
        if len({row[axis] for row in line}) < 2:
            continue
        for key, label in (("time_ratio", "time"), ("memory_ratio", "peak memory")):
            figure, axes = new_figure(5.2, 3.2)
            _draw(axes, line, axis, key)
            axes.set_ylabel(f"{label}, times plain")
            figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
            charts[f"{label} by {name}"] = as_svg(figure, f"{label} of each mode, as times plain's, by {name}")
    return charts


def _cells(row: Row) -> list[str]:
    notes = []
    if "three_epochs_ratio" in row:
        notes.append(f"three epochs with building the cache {row['three_epochs_ratio']:.2f}")
    if row.get("preparation_seconds", 0) >= 1:
        notes.append(f"{row['preparation_seconds']:.0f} s before the first step")
    if "memory_ratio_without_copy" in row:
        notes.append(f"memory without the copied weights {row['memory_ratio_without_copy']:.2f}")
    if "time_ratio_to_plain_logits" in row:
        times = f"time {row['time_ratio_to_plain_logits']:.2f}, memory {row['memory_ratio_to_plain_logits']:.2f}"
        notes.append(f"to plain_logits: {times}")
    if "check_steps" in row:
        checks = row["mode"] == REFERENCE_CHECK
        every = PACTConfig().reference.check_every if checks else DriftWatchSettings().every
        notes.append(
            f"one check takes {row['check_steps']:.2f} steps: {1 + row['check_steps'] / every:.4f} every {every}"
        )
    if row.get("accumulation", 1) > 1:
        notes.append(f"{row['accumulation']} micro-batches a step")
    ratios = [f"{row[key]:.2f}" for key in ("time_ratio", "cpu_ratio", "memory_ratio")]
    notes += [note for key, (_, note) in UNUSUAL.items() if row.get(key)]
    shape = [f"{row['parameters'] / 1e6:.0f}M", *(str(row[key]) for key in list(AXES)[:3])]
    return [row["training"], row["mode"], *shape, *ratios, "; ".join(notes)]


def _calibrations(results: Mapping[str, Any]) -> list[str]:
    return [_calibration(row) for row in results["rows"] if row["mode"] == CALIBRATION]


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
    held = [key for key in ("training", "size", "accumulation", *UNUSUAL, *AXES) if key not in free]
    return [row for row in rows if all(row.get(key) == rows[0].get(key) for key in held)]


def _draw(axes: Any, rows: Sequence[Row], axis: str, key: str) -> None:
    for place, mode in enumerate(dict.fromkeys(row["mode"] for row in rows)):
        points = sorted((row[axis], row[key]) for row in rows if row["mode"] == mode)
        axes.plot(*zip(*points, strict=True), marker="o", label=mode, color=COLORS[place % len(COLORS)])
    axes.axhline(1.0, color="#999", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set_xlabel(AXES[axis])
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_formatter(ScalarFormatter())
