"""Starting the worker under an engine: the environment that ``accelerate launch`` would set, on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.trainers import python_path

ROOT = Path(__file__).parents[2]
CONFIGURATIONS = ROOT / "examples" / "accelerate"
ENGINES_PYTHON = ROOT / ".venvs" / "engines" / "bin" / "python"
_PRINT_ENVIRONMENT = """
import json, sys
from accelerate.commands import launch
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

def show(environment):
    print(json.dumps({k: v for k, v in environment.items() if k.startswith(("ACCELERATE_", "FSDP_"))}))

launch.deepspeed_launcher = lambda args: show(prepare_deepspeed_cmd_env(args)[1])
launch.multi_gpu_launcher = lambda args: show(prepare_multi_gpu_env(args))
launch.launch_command(launch.launch_command_parser().parse_args(["--config_file", sys.argv[1], "worker.py"]))
"""


def engines_python() -> Path:
    """The interpreter of the environment with DeepSpeed and bitsandbytes; without it, the calling test is skipped."""
    if not ENGINES_PYTHON.exists():
        pytest.skip(f"{ENGINES_PYTHON} is missing: make environments")
    return ENGINES_PYTHON


def python_for(engine: str) -> Path:
    """The interpreter that can import this engine."""
    return engines_python() if engine.startswith("zero") else Path(sys.executable)


def accelerate_environment(configuration: Path, python: Path) -> dict[str, str]:
    """What accelerate's own launcher makes of a configuration file; an interpreter of its own, as it exports some."""
    command = [str(python), "-c", _PRINT_ENVIRONMENT, str(configuration)]
    printed = subprocess.run(command, cwd=ROOT, env=python_path(), capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr[-3000:]
    return json.loads(printed.stdout.splitlines()[-1])


def on_the_cpu(name: str, folder: Path, ranks: int = 2) -> Path:
    """An example for GPUs with full precision instead of bf16; everything that makes the engine stays as it is."""
    settings = yaml.safe_load((CONFIGURATIONS / f"{name}.yaml").read_text())
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**settings, "mixed_precision": "no", "num_processes": ranks}))
    return path


def start(engine: str, folder: Path, cases: dict[str, dict[str, Any]], *, ranks: int = 2) -> Path:
    """Run the cases in several processes of one engine and return the folder with a folder for each."""
    folder.mkdir(parents=True, exist_ok=True)
    python = python_for(engine)
    environment = accelerate_environment(on_the_cpu(engine, folder, ranks), python)
    command = [str(python), "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    finished = subprocess.run(
        [*command, "-m", "tests.engines.worker", engine, str(folder), json.dumps(cases)],
        cwd=ROOT,
        env={**python_path(), **environment, "DS_ACCELERATOR": "cpu"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-6000:]
    return folder
