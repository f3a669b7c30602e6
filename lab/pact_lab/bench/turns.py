"""Several trainers in one process, one optimizer step at a time in turn: what disturbs one disturbs all alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainerCallback


@dataclass
class Timing:
    """Seconds of one mode: until its first step could begin, and of each step (wall clock, and CPU of the process).

    ``epoch_steps`` counts the uncounted steps too: all rows were read before the first of them.
    """

    epoch_steps: int
    preparation: float = 0.0
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


class _Turn(TrainerCallback):
    """Holds its trainer at the beginning of every step until it is its turn."""

    def __init__(self) -> None:
        self.go, self.arrived = threading.Semaphore(0), threading.Semaphore(0)
        self.error: BaseException | None = None

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        synchronize()
        self.arrived.release()
        self.go.acquire()


class _Participant:
    def __init__(self, trainer: Any) -> None:
        self._turn = _Turn()
        trainer.add_callback(self._turn)
        self._trainer = trainer
        self._thread = threading.Thread(target=self._train, daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._wait()

    def step(self) -> None:
        """One step, from where the trainer waits to where it waits again (or ends)."""
        self._turn.go.release()
        self._wait()

    def _wait(self) -> None:
        self._turn.arrived.acquire()
        if self._turn.error is not None:
            raise self._turn.error

    def _train(self) -> None:
        try:
            self._trainer.train()
        except BaseException as error:
            self._turn.error = error
        synchronize()
        self._turn.arrived.release()


def take_turns(trainers: Mapping[str, Any], *, warmup: int, steps: int) -> dict[str, Timing]:
    """Train all of them, ``warmup + steps`` optimizer steps each; the first ``warmup`` are not counted.

    The order changes from round to round, so that no mode always follows the same other. Whatever a trainer does
    between two steps (its data, its log) counts for the step before.
    """
    participants = {name: _Participant(trainer) for name, trainer in trainers.items()}
    timings = {name: Timing(warmup + steps) for name in trainers}
    for name, participant in participants.items():
        started = time.perf_counter()
        participant.start()
        timings[name].preparation = time.perf_counter() - started
    names = list(participants)
    for round_number in range(warmup + steps):
        shift = round_number % len(names)
        for name in names[shift:] + names[:shift]:
            wall, cpu = time.perf_counter(), time.process_time()
            participants[name].step()
            if round_number >= warmup:
                timings[name].wall.append(time.perf_counter() - wall)
                timings[name].cpu.append(time.process_time() - cpu)
    return timings


def synchronize() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
