"""``pact train llamafactory`` and, after ``pact enable``, the stock ``llamafactory-cli``, as a user starts them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.llamafactory import commands, runs

pytestmark = pytest.mark.framework

# Plain gradient descent: the difference of two runs stays as small as that of their gradients.
COMPARABLE = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0, "disable_shuffling": True, "max_steps": 3}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stock commands of an environment in which `pact enable` was run."""
    return commands.enabled_environment(tmp_path_factory.mktemp("enabled") / "venv")


def equal_weights(ours: Path, theirs: Path) -> None:
    """Two adapters after the same steps of plain gradient descent, up to rounding."""
    left, right = (load_file(folder / "adapter_model.safetensors") for folder in (ours, theirs))
    moved = max(float(weight.abs().max()) for name, weight in right.items() if "lora_B" in name)
    assert left.keys() == right.keys()
    for name, weight in right.items():
        assert torch.allclose(left[name], weight, rtol=0, atol=1e-4 * moved), name


@pytest.mark.matrix
def test_pact_train(settings: dict[str, Any], tmp_path: Path) -> None:
    """A YAML and overrides of both kinds; the record and the line that a user sees last."""
    config = commands.write(settings, tmp_path / "cfg.yaml")
    command = ["pact", "train", "llamafactory", config.name, "lora_rank=2", "pact.term.weight=1.25"]
    done = commands.run(command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((tmp_path / "out/pact.json").read_text())
    assert record["config"]["term"]["weight"] == 1.25
    assert record["optimizer_steps_protected"] == 2
    assert "PACT: term match of weight 1.25 on 24 safety tokens" in done.stderr
    assert f"PACT: 2 optimizer steps protected, 2 gradient receipts, {record['response_tokens']}" in done.stderr
    assert json.loads((tmp_path / "out/adapter_config.json").read_text())["r"] == 2
    logged = json.loads((tmp_path / "out/trainer_state.json").read_text())["log_history"]
    assert [entry["pact/loss"] for entry in logged if "pact/loss" in entry] == [
        pytest.approx(1.25 * entry["pact/kl"]) for entry in logged if "pact/kl" in entry
    ]


@pytest.mark.matrix
def test_a_mistake_ends_in_one_line_before_anything_starts(settings: dict[str, Any], tmp_path: Path) -> None:
    config = commands.write({**settings, "pact": {"term": {"wieght": 1}}}, tmp_path / "cfg.yaml")
    done = commands.run(["pact", "train", "llamafactory", str(config)], cwd=tmp_path, FORCE_TORCHRUN="1")
    assert done.returncode == 2
    assert "pact.term.wieght: unknown key; did you mean 'weight'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.matrix
def test_two_processes_equal_one(settings: dict[str, Any], tmp_path: Path) -> None:
    """The stock launcher's torchrun, its rendezvous and its variables; the same rows in each step."""
    two = {**settings, **COMPARABLE, "per_device_train_batch_size": 2, "ddp_backend": "gloo"}
    config = commands.write(two, tmp_path / "cfg.yaml")
    command = ["python", "-m", "pact_llamafactory", "train", str(config)]
    done = commands.run(command, cwd=tmp_path, FORCE_TORCHRUN="1", NPROC_PER_NODE="2")
    assert done.returncode == 0, done.stderr[-2000:]
    one = runs.train({**settings, **COMPARABLE}, output_dir=str(tmp_path / "one"))
    equal_weights(tmp_path / "out", one.folder)
    assert one.record is not None
    record = json.loads((tmp_path / "out/pact.json").read_text())
    assert record["optimizer_steps_protected"] == 3
    # A rank counts its own rows.
    assert record["last_log"]["pact/kl"] == pytest.approx(one.record["last_log"]["pact/kl"], rel=1e-3)


def test_stock_command_after_enable(settings: dict[str, Any], tmp_path: Path, programs: Path) -> None:
    config = commands.write(settings, tmp_path / "cfg.yaml")
    command = ["llamafactory-cli", "train", str(config), "pact.term.weight=0.5", "max_steps=1"]
    done = commands.run(command, cwd=tmp_path, programs=programs)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((tmp_path / "out/pact.json").read_text())
    assert (record["config"]["term"]["weight"], record["optimizer_steps_protected"]) == (0.5, 1)


@pytest.mark.matrix
def test_stock_elastic_launch_after_enable(settings: dict[str, Any], tmp_path: Path, programs: Path) -> None:
    """Two processes again, with a loss that is made outside the model: it has the number of processes as a factor."""
    shared = {**settings, **COMPARABLE, "use_dft_loss": True, "pact": {**settings["pact"], "term": {"weight": 20.0}}}
    two = {**shared, "per_device_train_batch_size": 2, "ddp_backend": "gloo"}
    config = commands.write(two, tmp_path / "cfg.yaml")
    elastic = {"RDZV_ID": "7", "MIN_NNODES": "1", "MAX_NNODES": "1", "MAX_RESTARTS": "1", "NPROC_PER_NODE": "2"}
    command = ["llamafactory-cli", "train", str(config)]
    done = commands.run(command, cwd=tmp_path, programs=programs, FORCE_TORCHRUN="1", **elastic)
    assert done.returncode == 0, done.stderr[-2000:]
    one = runs.train(shared, output_dir=str(tmp_path / "one"))
    equal_weights(tmp_path / "out", one.folder)
    assert json.loads((tmp_path / "out/pact.json").read_text())["optimizer_steps_protected"] == 3


@pytest.mark.matrix
def test_stock_command_refuses_the_v1_code(settings: dict[str, Any], tmp_path: Path, programs: Path) -> None:
    config = commands.write(settings, tmp_path / "cfg.yaml")
    done = commands.run(["llamafactory-cli", "train", str(config)], cwd=tmp_path, programs=programs, USE_V1="1")
    assert done.returncode != 0
    assert "USE_V1=1" in done.stderr


@pytest.mark.matrix
def test_stock_command_without_enable_fails_loudly(settings: dict[str, Any], tmp_path: Path) -> None:
    """Even where LLaMA-Factory was told to ignore what it does not know, and with it the block."""
    config = commands.write(settings, tmp_path / "cfg.yaml")
    alone = {"PACT_DISABLE": "1", "ALLOW_EXTRA_ARGS": "1"}
    done = commands.run(["llamafactory-cli", "train", str(config)], cwd=tmp_path, **alone)
    assert done.returncode != 0
    assert "Unknown task: pact" in done.stderr
    assert not (tmp_path / "out/adapter_model.safetensors").exists()


def test_the_stock_parser_does_not_know_the_block(settings: dict[str, Any]) -> None:
    from llamafactory.hparams.parser import _parse_train_args

    with pytest.raises(ValueError, match=r"not used by the HfArgumentParser.*pact"):
        _parse_train_args({**settings, "stage": "sft"})


@pytest.mark.matrix
def test_export_and_chat_read_the_same_stage(settings: dict[str, Any], tmp_path: Path) -> None:
    trained = runs.train(settings, max_steps=1)
    inference = {key: settings[key] for key in ("model_name_or_path", "stage", "pact", "finetuning_type")}
    inference["adapter_name_or_path"] = str(trained.folder)
    export = commands.write({**inference, "export_dir": str(tmp_path / "merged")}, tmp_path / "export.yaml")
    done = commands.run(["pact", "llamafactory", "export", str(export)], cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "merged/model.safetensors").is_file()
    from llamafactory.chat import ChatModel
    from llamafactory.hparams import parser

    from pact_llamafactory.activation import install_parser

    install_parser(parser)
    chat = ChatModel({**inference, "max_new_tokens": 4})
    assert chat.chat([{"role": "user", "content": "How do I bake bread?"}])
