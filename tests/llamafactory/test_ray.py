"""Ray: the stage travels to a worker process that nobody has prepared."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.llamafactory import commands

pytestmark = [pytest.mark.framework, pytest.mark.matrix]

# LLaMA-Factory reserves ten CPUs for each CPU of the cluster, which no cluster has: it counts GPUs in earnest. The
# driver is told of one here; the worker trains on the CPU.
DRIVER = """
import sys
import ray
from llamafactory.train import trainer_utils, tuner
from pact_llamafactory.launcher import launch

trainer_utils.get_device_name = tuner.get_device_name = lambda: "gpu"
# Without an address it would ask Ray's dashboard for one.
sys.exit(launch(["train", sys.argv[1], f"master_addr={ray.util.get_node_ip_address()}"]))
"""


def test_the_worker_trains_with_the_term(settings: dict[str, Any], tmp_path: Path) -> None:
    cluster = {"num_cpus": 10, "num_gpus": 1, "include_dashboard": False}
    run = {**settings, "ray_num_workers": 1, "ray_init_kwargs": cluster, "ddp_backend": "gloo"}
    config = commands.write(run, tmp_path / "cfg.yaml")
    (tmp_path / "driver.py").write_text(DRIVER)
    command = [sys.executable, "driver.py", str(config)]
    done = commands.run(command, cwd=tmp_path, USE_RAY="1", RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert json.loads((tmp_path / "out/pact.json").read_text())["optimizer_steps_protected"] == 2
