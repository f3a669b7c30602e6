"""The stock commands in subprocesses, with each launcher, by short and by dotted name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pact_plugins.activation import line
from tests.axolotl import runs
from tests.axolotl.conftest import ROWS
from tests.axolotl.runs import BASE, LORA, Run

pytestmark = pytest.mark.framework
TORCHRUN = ("--launcher", "torchrun", "--", "--nproc_per_node", "1", "--master_port", "29541")


@pytest.fixture(scope="module")
def enabled() -> Iterator[None]:
    """`pact enable` in this environment; taken back unless it was enabled before."""
    was_enabled = bool(line.written_in())
    assert runs.command(runs.CHECKOUT, "pact", "enable").succeeded()
    yield
    if not was_enabled:
        assert runs.command(runs.CHECKOUT, "pact", "disable").succeeded()


def train(folder: Path, settings: dict[str, Any], *arguments: str, start: tuple[str, ...] = (), **env: str) -> Run:
    runs.prepare(folder, {**BASE, **LORA, **settings}, ROWS)
    return runs.command(folder, "axolotl", *start, "train", "config.yml", *arguments, **env)


def is_protected(run: Run, steps: int = 2) -> None:
    run.succeeded()
    assert run.record["optimizer_steps_protected"] == steps
    assert run.record["gradient_receipts"] == steps
    assert f"[axolotl.pact] PACT: {steps} optimizer steps protected, {steps} gradient receipts" in run.log


def test_dotted_name_needs_nothing_else(workplace: Path, pact: dict[str, Any]) -> None:
    assert not line.written_in()
    run = train(workplace / "dotted", {**pact, "use_tensorboard": True}, "--launcher", "python")
    is_protected(run)
    assert len(run.record["safety_tokens"]["fingerprint"]) == 16
    assert run.record["config"]["objective"] == "match"
    assert "'pact/kl': " in run.log
    assert "2 optimizer steps protected" in (run.output / "debug.log").read_text()
    assert (run.output / "pact_safety_tokens.safetensors").is_file()
    events = EventAccumulator(str(next(run.output.rglob("events.out.tfevents.*")).parent)).Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/pact/kl", "train/pact/loss", "train/pact/safety_mass"} <= tags


def test_axolotl_pact_train_needs_neither_line_nor_plugins(workplace: Path, pact: dict[str, Any]) -> None:
    """The processes that the launcher starts know the short name as well."""
    assert not line.written_in()
    folder = workplace / "native"
    is_protected(train(folder, {"pact": pact["pact"]}, *TORCHRUN, start=("pact",), ACCELERATE_USE_CPU="true"))


@pytest.mark.parametrize(
    ("name", "plugins", "launcher"),
    [
        ("python", "pact", ("--launcher", "python")),
        ("accelerate", ["pact"], ()),
        ("torchrun", "pact", TORCHRUN),
    ],
)
def test_short_name_with_each_launcher(
    name: str, plugins: Any, launcher: tuple[str, ...], enabled: None, workplace: Path, pact: dict[str, Any]
) -> None:
    settings = {"plugins": plugins, "pact": pact["pact"]}
    is_protected(train(workplace / f"short_{name}", settings, *launcher, ACCELERATE_USE_CPU="true"))


def test_preprocess_takes_the_short_name(enabled: None, workplace: Path, pact: dict[str, Any]) -> None:
    file = runs.prepare(workplace / "preprocess", {**BASE, **LORA, **pact, "plugins": "pact"}, ROWS)
    run = runs.command(file.parent, "axolotl", "preprocess", "config.yml").succeeded()
    assert any((run.folder / "prepared").iterdir())


def test_a_wrong_block_ends_the_command(enabled: None, workplace: Path, pact: dict[str, Any]) -> None:
    run = train(workplace / "misspelt", {"pcat": pact["pact"]}, "--launcher", "python")
    assert run.returncode != 0
    assert "pcat: unknown key, which Axolotl would ignore; did you mean 'pact'?" in run.log
    assert not run.output.exists() or not (run.output / "adapter_model.safetensors").exists()


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
