"""What PACT adds, operation by operation: torch profiler's times of a mode beside those of plain training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from transformers import TrainerCallback

# Operation to microseconds of its own (on the GPU where there is one), of all profiled steps together.
Times = Mapping[str, float]
_OPERATIONS = 15


class _Profiled(TrainerCallback):
    """Records every step after the first ``skipped``."""

    def __init__(self, profiler: profile, skipped: int) -> None:
        self._profiler, self._skipped = profiler, skipped

    def on_step_begin(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        if state.global_step == self._skipped:
            self._profiler.start()


def operation_times(trainer: Any, *, skipped: int) -> dict[str, float]:
    """Train, and return each operation's own microseconds over the steps after ``skipped``."""
    cuda = torch.cuda.is_available()
    profiler = profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])])
    trainer.add_callback(_Profiled(profiler, skipped))
    trainer.train()
    profiler.stop()
    kind = "self_device_time_total" if cuda else "self_cpu_time_total"
    # A kernel's time is its operation's already.
    operations = [event for event in profiler.key_averages() if event.device_type == DeviceType.CPU]
    times = {event.key: float(getattr(event, kind)) for event in operations}
    return {name: microseconds for name, microseconds in times.items() if microseconds > 0}


def breakdown(plain: Times, mode: Times, *, steps: int) -> str:
    """A Markdown table: the operations whose time differs most, milliseconds a step, and the sum of all."""
    names = sorted(plain.keys() | mode.keys(), key=lambda name: -abs(mode.get(name, 0.0) - plain.get(name, 0.0)))
    lines = ["| operation | plain, ms | ms | difference, ms |", "|---|---:|---:|---:|"]
    lines += [_line(name, plain.get(name, 0.0), mode.get(name, 0.0), steps) for name in names[:_OPERATIONS]]
    lines.append(_line("all operations", sum(plain.values()), sum(mode.values()), steps))
    return "\n".join(lines) + "\n"


def _line(name: str, plain: float, mode: float, steps: int) -> str:
    before, after = (microseconds / 1000 / steps for microseconds in (plain, mode))
    return f"| `{name}` | {before:.2f} | {after:.2f} | {after - before:+.2f} |"
