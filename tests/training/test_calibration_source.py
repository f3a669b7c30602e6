"""Automatic safety tokens are those of the aligned model, not of the model as it is being trained."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from pact_lab.tiny_world import aligned_path, refusal_pairs
from pact_plugins.config import PACTConfig
from pact_plugins.safety_tokens.automatic import automatic_safety_tokens
from pact_plugins.settings import merged
from pact_plugins.training.preparation import Run, prepare

MODULES = ["q_proj", "v_proj"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(aligned_path())


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("calibration")
    (folder / "refusals.json").write_text(json.dumps(refusal_pairs(32, seed=0)))
    return {
        "reference": {"cache_path": str(folder / "cache")},
        "safety_tokens": {"refusals_path": str(folder / "refusals.json")},
    }


@pytest.fixture(scope="module")
def expected(tokenizer: Any, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    config = PACTConfig(
        **merged(settings, {"preset": "match", "reference": {"cache_path": str(tmp_path_factory.mktemp("expected"))}})
    )
    return automatic_safety_tokens(load(), tokenizer, config.recipe(), config.reference.cache_path, progress=False)[
        0
    ].fingerprint


def load() -> Any:
    return AutoModelForCausalLM.from_pretrained(aligned_path(), dtype=torch.float32)


@torch.no_grad()
def move(model: Any) -> Any:
    """Change the weights as training would."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def test_an_adapter_that_rewrites_the_base_weights(tokenizer: Any, settings: dict[str, Any], expected: str) -> None:
    model = get_peft_model(load(), LoraConfig(r=4, target_modules=MODULES, init_lora_weights="pissa"))
    config = PACTConfig(**merged(settings, {"preset": "match", "reference": {"path": str(aligned_path())}}))
    preparation = prepare(model, tokenizer, config)
    assert preparation.reference is not None
    assert preparation.reference.name == "frozen_copy"
    assert preparation.safety_tokens is not None
    assert preparation.safety_tokens.fingerprint == expected


def test_full_fine_tuning_that_resumes(tokenizer: Any, settings: dict[str, Any], expected: str) -> None:
    preparation = prepare(move(load()), tokenizer, PACTConfig(preset="match", **settings), Run(resumed=True))
    assert preparation.safety_tokens is not None
    assert preparation.safety_tokens.fingerprint == expected


def test_an_adapter_that_resumes(tokenizer: Any, settings: dict[str, Any], expected: str) -> None:
    model = get_peft_model(load(), LoraConfig(r=4, target_modules=MODULES, init_lora_weights=False))
    preparation = prepare(model, tokenizer, PACTConfig(preset="match", **settings), Run(resumed=True))
    assert preparation.reference is not None
    assert preparation.reference.name == "adapter_off"
    assert preparation.safety_tokens is not None
    assert preparation.safety_tokens.fingerprint == expected
