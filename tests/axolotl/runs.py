"""Axolotl runs on the tiny aligned model: the real command, or its own functions in a fork of the test process."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from pact_lab import tiny_world
from tests.helpers.environments import CHECKOUT, Environment
from tests.helpers.forks import call_and_exit

BIN = Path(sys.executable).parent
PLUGIN = "pact_axolotl.PACTPlugin"
Settings = dict[str, Any]

BASE: Settings = {
    "base_model": str(tiny_world.aligned_path()),
    "datasets": [{"path": "./train.jsonl", "ds_type": "json", "type": "chat_template"}],
    "dataset_prepared_path": "./prepared",
    "dataset_num_proc": 1,
    "chat_template": "tokenizer_default",
    "bf16": False,
    "fp16": False,
    "tf32": False,
    "attn_implementation": "eager",
    "sequence_len": 256,
    "pad_to_sequence_len": False,
    "micro_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "max_steps": 2,
    "optimizer": "adamw_torch",
    "learning_rate": 1e-3,
    "logging_steps": 1,
    "save_strategy": "no",
    "output_dir": "./out",
    "seed": 1,
}
LORA: Settings = {
    "adapter": "lora",
    "lora_r": 8,
    "lora_alpha": 16,
    "lora_target_linear": True,
    "lora_mlp_kernel": False,
    "lora_qkv_kernel": False,
    "lora_o_kernel": False,
    "lora_embedding_kernel": False,
}


@dataclass(frozen=True)
class Run:
    """What a run left behind."""

    folder: Path
    returncode: int
    log: str

    @property
    def output(self) -> Path:
        return self.folder / "out"

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.output / "pact.json").read_text())

    @property
    def history(self) -> list[dict[str, float]]:
        return json.loads((self.folder / "history.json").read_text())

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.output / f"{name}.safetensors")

    def succeeded(self) -> Run:
        assert self.returncode == 0, self.log[-4000:]
        return self


def prepare(folder: Path, settings: Mapping[str, Any], rows: list[dict[str, Any]]) -> Path:
    """Write data and YAML into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"messages": row["prompt"] + row["completion"]}) for row in rows]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "config.yml").write_text(yaml.safe_dump(dict(settings), sort_keys=False))
    return folder / "config.yml"


def command(
    folder: Path, *arguments: str, environment: Environment | None = None, timeout: float = 900, **variables: str
) -> Run:
    """Run a console script in ``folder``.

    Args:
        environment: whose script; without one it is this environment's, with `pact enable` without effect.
    """
    if environment is None:
        paths = os.pathsep.join(map(str, (CHECKOUT, *(CHECKOUT / name for name in ("integrations", "evals", "lab")))))
        scripts = BIN
        all_variables = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": paths}
        all_variables["PACT_DISABLE"] = "1"
    else:
        scripts, all_variables = environment.bin, environment.variables()
    script, *rest = arguments
    finished = subprocess.run(
        [str(scripts / script), *rest],
        cwd=folder,
        env={**all_variables, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Run(folder, finished.returncode, finished.stdout)


def in_fork(folder: Path, function: Callable[[], Any]) -> Run:
    """Call ``function`` in a fork of this process, in ``folder``; its output is the run's log.

    Axolotl patches classes and keeps one registry of plugins a process; the fork starts with neither, and with
    everything imported.
    """
    import_axolotl()
    process = multiprocessing.get_context("fork").Process(target=_child, args=(folder, function))
    process.start()
    process.join(timeout=900)
    if process.exitcode is None:
        process.kill()
    return Run(folder, -1 if process.exitcode is None else process.exitcode, (folder / "log.txt").read_text())


def _child(folder: Path, function: Callable[[], Any]) -> None:
    def with_logging(log: Any) -> None:
        _log_to(log)
        function()

    call_and_exit(folder, with_logging)


def _log_to(log: Any) -> None:
    """Axolotl's handlers hold the standard output of the process that imported it."""
    import logging

    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if type(handler) is logging.StreamHandler:
            handler.stream = log


@cache
def import_axolotl() -> None:
    """Everything that a run imports, once."""
    import numpy
    from axolotl.utils.samplers.multipack import pack_parallel

    import pact_axolotl.axolotl_plugin  # noqa: F401

    # Numba compiles the packing on its first call.
    lengths = numpy.array([8, 8, 8], dtype=numpy.int64)
    pack_parallel(lengths, bin_capacity=16, group_size=3, bin_size=3, num_processes=1)


def train() -> None:
    """What ``axolotl train config.yml --launcher python`` does in its process, and the log history as a file."""
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.cli.config import load_cfg
    from axolotl.common.datasets import load_datasets
    from axolotl.integrations.base import PluginManager
    from axolotl.train import train as run

    # LoRA's initialisation is not covered by Axolotl's seed.
    torch.manual_seed(0)
    cfg = load_cfg("config.yml")
    if cfg.get("plugins"):
        PluginManager.get_instance().load_datasets(cfg, preprocess=False)
    meta = load_datasets(cfg=cfg, cli_args=TrainerCliArgs())
    torch.manual_seed(0)
    _model, _tokenizer, trainer = run(cfg=cfg, dataset_meta=meta)
    Path("history.json").write_text(json.dumps(trainer.state.log_history))
