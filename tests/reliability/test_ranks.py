"""One rank of two is killed: the other stops within a minute and says why, and the run can be resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pact_plugins.verification import verify
from tests.helpers.trainers import python_path
from tests.reliability.counts import record
from tests.reliability.kills import newest_checkpoint, remove_half_written

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(7200)]
ROOT = Path(__file__).parents[2]
LIMIT = 60


def begin(out: Path, *launcher: str, module: str = "tests.reliability.two_ranks", **variables: str) -> subprocess.Popen:
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *launcher, "-m", module, str(out)]
    with open(out / f"log{variables.get('RANK', '')}", "w") as log:
        environment = {**python_path(), **variables}
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)


def under_torchrun(out: Path, **variables: str) -> subprocess.Popen:
    return begin(out, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", **variables)


def wait_for(condition, *processes: subprocess.Popen) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        assert all(process.poll() is None for process in processes), "a process ended too early"
        time.sleep(0.1)


def kill(out: Path, rank: int) -> None:
    os.kill(int((out / f"rank{rank}.pid").read_text()), signal.SIGKILL)


def ends(process: subprocess.Popen) -> None:
    try:
        assert process.wait(timeout=LIMIT) != 0
    finally:
        process.kill()


@pytest.mark.parametrize("victim", [0, 1])
def test_torchrun_ends_the_other_and_names_the_one_that_was_killed(tmp_path, victim):
    out = tmp_path / "run"
    process = under_torchrun(out)
    wait_for(lambda: list((out / "out").glob("checkpoint-*/trainer_state.json")), process)
    kill(out, victim)
    ends(process)
    root_cause = (out / "log").read_text().rpartition("Root Cause")[2]
    assert f"rank      : {victim} " in root_cause
    assert "SIGKILL" in root_cause
    remove_half_written(out / "out")
    newest = newest_checkpoint(out / "out")
    assert newest is not None
    steps = int(newest.name.rpartition("-")[2]) + 30
    resumed = under_torchrun(out, MAX_STEPS=str(steps))
    assert resumed.wait(timeout=600) == 0, (out / "log").read_text()[-4000:]
    assert verify(out / "out").problems == []
    found = json.loads((out / "out" / "pact.json").read_text())
    assert found["optimizer_steps_protected"] == steps
    assert len(found["segments"]) == 2
    record("kills, one rank of two", **{f"under torchrun, rank {victim}: the other stopped and the run was resumed": 1})


@pytest.mark.parametrize("module", ["tests.reliability.two_ranks", "tests.reliability.two_ranks_of_ours"])
def test_without_an_agent_the_other_stops_by_itself(tmp_path, module):
    """As on another machine, whose torchrun knows nothing yet: in the trainer's own exchange, or in ours."""
    out, port = tmp_path / "run", str(20_000 + os.getpid() % 10_000)
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [begin(out, module=module, RANK=str(rank), LOCAL_RANK=str(rank), **common) for rank in range(2)]
    wait_for(lambda: list((out / "out").glob("checkpoint-*")), *ranks)
    kill(out, 1)
    ends(ranks[0])
    said = (out / "log0").read_text()
    # gloo's own words, which differ with the exchange that fails first.
    assert "Connection closed by peer" in said or "Check the logs of the remote worker" in said
    if module.endswith("of_ours"):
        assert (
            "another rank of this run has gone, or does not answer (this is rank 0 of 2)" in (out / "log0").read_text()
        )
    record("kills, one rank of two", **{f"without an agent, {module.rpartition('.')[2]}: the other stopped": 1})
