"""The stock commands in subprocesses, with each launcher, by short and by dotted name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.axolotl import reporters, runs
from tests.axolotl.conftest import ROWS
from tests.axolotl.runs import BASE, LORA, Run
from tests.helpers.environments import Environment

pytestmark = pytest.mark.framework
TORCHRUN = ("--launcher", "torchrun", "--", "--nproc_per_node", "1", "--master_port", "29541")
REPORTERS = {"use_tensorboard": True, "use_wandb": True, "wandb_project": "pact", "wandb_mode": "offline"}


def train(
    folder: Path,
    settings: dict[str, Any],
    *arguments: str,
    start: tuple[str, ...] = ("axolotl", "train"),
    environment: Environment | None = None,
    **env: str,
) -> Run:
    runs.prepare(folder, {**BASE, **LORA, **settings}, ROWS)
    return runs.command(folder, *start, "config.yml", *arguments, environment=environment, **env)


def is_protected(run: Run, steps: int = 2) -> None:
    run.succeeded()
    assert run.record["optimizer_steps_protected"] == steps
    assert run.record["gradient_receipts"] == steps
    assert run.log.count(f"[axolotl.pact] PACT: {steps} optimizer steps protected, {steps} gradient receipts") == 1


@pytest.mark.matrix
def test_dotted_name_needs_nothing_else(workplace: Path, pact: dict[str, Any]) -> None:
    """The record, the log and every reporter."""
    run = train(workplace / "dotted", {**pact, **REPORTERS}, "--launcher", "python")
    is_protected(run)
    assert len(run.record["safety_tokens"]["fingerprint"]) == 16
    assert run.record["config"]["term"]["objective"] == "match"
    assert (run.output / "pact_safety_tokens.safetensors").is_file()
    assert "'pact/kl': " in run.log
    assert "2 optimizer steps protected" in (run.output / "debug.log").read_text()
    last = run.record["last_log"]
    assert {"pact/kl", "pact/loss", "pact/safety_mass", "pact/reference_safety_mass"} <= set(last)
    for series in (reporters.tensorboard(run.output), reporters.wandb(run.folder)):
        for name, value in last.items():
            assert len(series[f"train/{name}"]) == 2
            assert series[f"train/{name}"][-1] == pytest.approx(value, rel=1e-5)


@pytest.mark.matrix
def test_axolotl_pact_train_needs_neither_line_nor_plugins(workplace: Path, pact: dict[str, Any]) -> None:
    """The processes that the launcher starts know the short name as well."""
    start = ("axolotl", "pact", "train")
    is_protected(train(workplace / "native", {"pact": pact["pact"]}, *TORCHRUN, start=start, ACCELERATE_USE_CPU="true"))


@pytest.mark.matrix
def test_pact_train_axolotl_ends_with_one_line_about_a_mistake(workplace: Path, pact: dict[str, Any]) -> None:
    start = ("pact", "train", "axolotl")
    run = train(workplace / "misspelt", {"pcat": pact["pact"]}, "--launcher", "python", start=start)
    assert run.returncode == 2
    assert "Error: pcat: unknown key, which Axolotl would ignore; did you mean 'pact'?" in run.log
    assert "Traceback" not in run.log
    assert not run.output.exists()


@pytest.mark.parametrize(
    ("name", "plugins", "launcher"),
    [
        ("python", "pact", ("--launcher", "python")),
        pytest.param("accelerate", ["pact"], (), marks=pytest.mark.matrix),
        pytest.param("torchrun", "pact", TORCHRUN, marks=pytest.mark.matrix),
    ],
)
def test_short_name_with_each_launcher(
    name: str, plugins: Any, launcher: tuple[str, ...], enabled: Environment, workplace: Path, pact: dict[str, Any]
) -> None:
    settings = {"plugins": plugins, "pact": pact["pact"]}
    run = train(workplace / f"short_{name}", settings, *launcher, environment=enabled, ACCELERATE_USE_CPU="true")
    is_protected(run)


@pytest.mark.matrix
def test_preprocess_takes_the_short_name(enabled: Environment, workplace: Path, pact: dict[str, Any]) -> None:
    folder = runs.prepare(workplace / "preprocess", {**BASE, **LORA, **pact, "plugins": "pact"}, ROWS).parent
    runs.command(folder, "axolotl", "preprocess", "config.yml", environment=enabled).succeeded()
    assert any((folder / "prepared").iterdir())


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "misspelt",
            {"plugins": "pact", "pact": {"term": {"wieght": 1}}},
            "pact.term.wieght: unknown key; did you mean 'weight'?",
        ),
        pytest.param("unlisted", {"pact": {}}, "pact: stands in the configuration, but", marks=pytest.mark.matrix),
    ],
)
def test_a_wrong_block_is_one_line_of_the_stock_command(
    name: str, settings: dict[str, Any], message: str, enabled: Environment, workplace: Path
) -> None:
    """Of the default launcher, which would add a traceback of its own to a worker's."""
    run = train(workplace / name, settings, environment=enabled, ACCELERATE_USE_CPU="true")
    assert run.returncode == 2
    assert run.log.splitlines()[-1].startswith(f"Error: config.yml: {message}")
    assert "Traceback" not in run.log
    assert not run.output.exists()


@pytest.mark.matrix
def test_an_error_of_the_worker_is_one_line(workplace: Path) -> None:
    """Nothing is enabled, so nothing of ours runs before the plugin is loaded."""
    settings = {"plugins": [runs.PLUGIN], "pact": {"term": {"wieght": 1}}}
    run = train(workplace / "worker", settings, "--launcher", "python")
    assert run.returncode == 2
    assert run.log.splitlines()[-1] == "Error: pact.term.wieght: unknown key; did you mean 'weight'?"
    assert "Traceback" not in run.log


@pytest.mark.matrix
def test_ligers_fused_linear_cross_entropy(workplace: Path, pact: dict[str, Any]) -> None:
    liger = {
        "plugins": ["axolotl.integrations.liger.LigerPlugin", *pact["plugins"]],
        "liger_fused_linear_cross_entropy": True,
        "pact": pact["pact"],
        "sequence_len": 128,
        "micro_batch_size": 1,
    }
    run = train(workplace / "liger", liger, "--launcher", "python", TRITON_INTERPRET="1")
    is_protected(run)
    assert "lce" in run.log.lower() or "fused_linear_cross_entropy" in run.log
