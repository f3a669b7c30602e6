"""One training, killed again and again at random moments, and resumed from the trainer's newest checkpoint."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from pact_plugins.cli.verify import verify as verify_command
from pact_plugins.safety_tokens import SafetyTokens
from pact_plugins.verification import verify
from tests.helpers.forks import call_and_exit

# A segment that neither ends nor is killed by now hangs.
_LIMIT = 1500.0
_SECONDS_BETWEEN_LOOKS = 0.005
_SAME_IN_BOTH = (
    "optimizer_steps_protected",
    "gradient_receipts",
    "response_tokens",
    "parts",
    "reference",
)


@dataclass
class Killed:
    """What a campaign did, and found.

    Attributes:
        moments: kills by what went on: ``starting``, ``building``, ``training``, ``saving``.
        half_written: kills that left a newest checkpoint which no trainer resumes from; it is removed.
        left_over: temporary files that the kills left in folders of ours.
    """

    moments: Counter[str] = field(default_factory=Counter)
    half_written: int = 0
    left_over: int = 0

    @property
    def kills(self) -> int:
        return sum(self.moments.values())

    def counts(self) -> dict[str, int]:
        """For the table of the docs."""
        moments = {f"killed while {moment}": count for moment, count in sorted(self.moments.items())}
        return {
            "kills": self.kills,
            **moments,
            "checkpoints left half-written": self.half_written,
            "temporary files left": self.left_over,
        }


@dataclass(frozen=True)
class Pace:
    """Seconds from a start to its first checkpoint, and from one checkpoint to the next."""

    first: float
    next: float


class Training:
    """A run in ``folder``: ``out/`` is the trainer's output folder, ``cache/`` ours.

    Args:
        start: trains, in a fork of this process and in ``folder``, and resumes where there is a checkpoint.
    """

    def __init__(self, folder: Path, start: Callable[[], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.output, self.cache, self._start = folder, folder / "out", folder / "cache", start
        self.log = folder / "log.txt"

    def begin(self) -> multiprocessing.process.BaseProcess:
        process = multiprocessing.get_context("fork").Process(target=_child, args=(self.folder, self._start))
        process.start()
        return process

    def run_to_the_end(self) -> Pace:
        """Train until the end, which must be a good one."""
        process, began, seen = self.begin(), time.monotonic(), list[float]()
        known = self.checkpoints()
        while process.is_alive() and time.monotonic() < began + _LIMIT:
            if self.checkpoints() - known:
                seen.append(time.monotonic() - began)
                known |= self.checkpoints()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        process.join(timeout=0)
        assert process.exitcode == 0, f"status {process.exitcode}: {self.log.read_text()[-6000:]}"
        return Pace(seen[0], (seen[-1] - seen[0]) / (len(seen) - 1)) if len(seen) > 1 else Pace(1.0, 1.0)

    def checkpoints(self) -> set[str]:
        with suppress(FileNotFoundError):
            return {name for name in os.listdir(self.output) if name.startswith("checkpoint-")}
        return set()

    def files(self) -> set[Path]:
        """Ours, temporary ones included."""
        return {path for path in [*self.cache.rglob("*"), *self.output.glob("*pact*")] if path.is_file()}

    def weights(self) -> dict[str, torch.Tensor]:
        names = ("adapter_model.safetensors", "model.safetensors")
        return load_file(next(path for name in names if (path := self.output / name).is_file()))


def killed_and_resumed(run: Training, whole: Training, *, kills: int, seed: int) -> Killed:
    """Train ``whole`` without a break and ``run`` with ``kills`` of them; compare what they leave.

    Raises:
        AssertionError: a run failed, a file of ours was broken, the weights differ, or the record is not true.
    """
    pace = whole.run_to_the_end()
    found, generator = Killed(), random.Random(seed)
    while found.kills < kills:
        process, began = run.begin(), time.monotonic()
        moment = _wait(run, process, generator, pace)
        if not process.is_alive():
            process.join()
            assert process.exitcode == 0, f"status {process.exitcode}: {run.log.read_text()[-6000:]}"
            break
        assert time.monotonic() < began + _LIMIT, "the run hangs: " + run.log.read_text()[-6000:]
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        found.moments[moment] += 1
        _check_files(run)
        found.half_written += remove_half_written(run.output)
    else:
        run.run_to_the_end()
    found.left_over = sum(path.name.startswith(".") for path in run.files())
    _compare(run, whole)
    return found


def _wait(run: Training, process: multiprocessing.process.BaseProcess, generator: random.Random, pace: Pace) -> str:
    """Until a random moment, or the end of the process; says what was going on."""
    checkpoints, files, began = run.checkpoints(), run.files(), time.monotonic()
    kind = generator.choice(["starting", "training", "saving", "saving"] + ["building"] * (2 if not checkpoints else 0))
    if kind == "starting":
        seconds = generator.uniform(0.0, pace.first)
        _until(process, lambda: time.monotonic() > began + seconds)
    elif kind == "building":
        # Everything of ours may be there already.
        _until(process, lambda: bool(run.files() - files or run.checkpoints() - checkpoints))
        time.sleep(generator.choice([0.0, generator.uniform(0.0, 0.5)]))
    else:
        _until(process, lambda: bool(run.checkpoints() - checkpoints))
        time.sleep(generator.uniform(0.0, 0.05) if kind == "saving" else generator.uniform(0.05, 1.5 * pace.next))
    return kind


def _until(process: multiprocessing.process.BaseProcess, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LIMIT
    while process.is_alive() and not condition() and time.monotonic() < deadline:
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def newest_checkpoint(output: Path) -> Path | None:
    """The one with the highest number, whole or not."""
    return max(output.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def remove_half_written(output: Path) -> int:
    """As the message tells the user: the newest checkpoint, if nobody can resume from it. Returns how many."""
    newest = newest_checkpoint(output)
    if newest is None:
        return 0
    try:
        json.loads((newest / "trainer_state.json").read_text())
    except (OSError, ValueError):
        shutil.rmtree(newest)
        return 1
    return 0


def _check_files(run: Training) -> None:
    """Whatever of ours has its own name is whole, at every moment."""
    for path in run.files():
        if path.name.startswith("."):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.name == "pact_safety_tokens.safetensors" or path.parent.name == "safety_tokens":
            SafetyTokens.load(path)
        elif path.suffix == ".safetensors":
            assert load_file(path)


def _compare(run: Training, whole: Training) -> None:
    expected = whole.weights()
    found = run.weights()
    assert found.keys() == expected.keys()
    different = [name for name, value in expected.items() if not torch.equal(found[name], value)]
    assert not different, (
        f"{len(different)} of {len(expected)} tensors differ from the uninterrupted run's: {different[:3]}"
    )
    assert verify(run.output).problems == []
    assert CliRunner().invoke(verify_command, [str(run.output)]).exit_code == 0
    records = [json.loads((one.output / "pact.json").read_text()) for one in (run, whole)]
    for key in _SAME_IN_BOTH:
        assert records[0][key] == records[1][key], key
    assert records[0]["safety_tokens"]["fingerprint"] == records[1]["safety_tokens"]["fingerprint"]
    counts = [
        {key: record["cache"][key] for key in ("hits", "misses", "sequences")}
        for record in records
        if "cache" in record
    ]
    assert counts[:1] == counts[1:]


def _child(folder: Path, start: Callable[[], None]) -> None:
    call_and_exit(folder, lambda _log: start(), mode="a")
