"""What would train past the trainer is refused by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pact_llamafactory.bypasses import refuse_bypasses
from pact_llamafactory.launcher import launch, launch_training
from pact_llamafactory.training import train
from pact_plugins.errors import ConfigurationError, UnprotectedTrainingError
from tests.llamafactory import commands, runs


@pytest.mark.parametrize("name", ["USE_MCA", "USE_MEGATRON_BRIDGE", "USE_V1"])
@pytest.mark.parametrize("value", ["1", "true"])
def test_environment_variables(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"{name}={value}"):
        refuse_bypasses({})
    monkeypatch.setenv(name, "0")
    refuse_bypasses({})


def test_switches() -> None:
    for arguments in ({"use_hyper_parallel": True}, ["--use_hyper_parallel", "true"]):
        with pytest.raises(ConfigurationError, match="use_hyper_parallel"):
            refuse_bypasses(arguments)
    refuse_bypasses({"use_hyper_parallel": False})


def test_the_launcher_refuses_before_it_starts_a_process(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = commands.write(settings, tmp_path / "cfg.yaml")
    monkeypatch.setenv("USE_MCA", "1")
    with pytest.raises(ConfigurationError, match="USE_MCA=1 trains with Megatron Core"):
        launch(["train", str(config)])
    assert "FORCE_TORCHRUN" not in os.environ


@pytest.mark.parametrize("stage", [None, "sft", "dpo"])
def test_pact_train_does_not_train_without_pact(settings: dict[str, Any], tmp_path: Path, stage: str | None) -> None:
    del settings["pact"]
    config = commands.write({**settings, "stage": stage}, tmp_path / "cfg.yaml")
    with pytest.raises(ConfigurationError, match=r"stage is not pact, so the run would be unprotected: .*stage=pact"):
        launch_training([str(config)])


@pytest.mark.parametrize("given", [[], ["nowhere.yml.bak"]])
def test_pact_train_without_a_configuration(given: list[str]) -> None:
    with pytest.raises(
        ConfigurationError, match=f"{''.join(given) or 'no configuration'}: neither a YAML .*usage: pact"
    ):
        launch_training(given)


@pytest.mark.framework
def test_a_run_is_refused_before_it_loads_anything(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="use_hyper_parallel"):
        runs.train(settings, use_hyper_parallel=True, model_name_or_path="/nowhere")


def test_a_run_that_makes_no_trainer_is_an_error() -> None:
    """A release of LLaMA-Factory that trains some other way must not pass for protected."""
    received: list[dict[str, Any]] = []
    with pytest.raises(UnprotectedTrainingError, match="without its SFT trainer"):
        train(received.append, {"args": {"stage": "pact"}, "callbacks": []})
    assert received == [{"args": {"stage": "sft"}, "callbacks": []}]
    train(received.append, {"args": {"stage": "sft"}, "callbacks": []})
    assert len(received) == 2
