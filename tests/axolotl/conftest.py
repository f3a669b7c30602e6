"""What the tests of this folder share: data, safety tokens, and runs that several tests look at."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Before Axolotl is imported: no telemetry, no hub.
os.environ["AXOLOTL_DO_NOT_TRACK"] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Several threads that load weights in a fork sometimes meet before torch has made its pool ("Invalid thread pool").
os.environ.setdefault("HF_DEACTIVATE_ASYNC_LOAD", "1")

from pact_lab import tiny_world
from pact_plugins.config import PACTConfig
from tests.axolotl import runs
from tests.helpers.environments import Environment

ROWS = tiny_world.finetuning_rows(24, harmful_fraction=0.1, seed=3)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("axolotl")


@pytest.fixture(scope="session")
def safety_tokens(workplace: Path) -> Path:
    """Safety tokens of the tiny aligned model."""
    file = workplace / "safety_tokens.safetensors"
    refusals = workplace / "refusals.json"
    refusals.write_text(json.dumps(tiny_world.refusal_pairs(128, seed=0)))

    def calibrate() -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from pact_plugins.safety_tokens.recipe import calibrate as run

        model = AutoModelForCausalLM.from_pretrained(tiny_world.aligned_path())
        tokenizer = AutoTokenizer.from_pretrained(tiny_world.aligned_path())
        recipe = PACTConfig(safety_tokens={"refusals_path": str(refusals)}).recipe()
        run(model, tokenizer, recipe, progress=False).save(file)

    runs.in_fork(workplace, calibrate).succeeded()
    return file


@pytest.fixture(scope="session")
def pact(safety_tokens: Path) -> dict[str, Any]:
    """The part of a YAML that asks for PACT."""
    return {"plugins": [runs.PLUGIN], "pact": {"preset": "match", "safety_tokens": {"file": str(safety_tokens)}}}


@pytest.fixture(scope="session")
def trained(workplace: Path) -> Callable[..., runs.Run]:
    """Run Axolotl in a fork; the same name gives the same run."""
    done: dict[str, runs.Run] = {}

    def run(name: str, settings: dict[str, Any], rows: list[dict[str, Any]] = ROWS) -> runs.Run:
        if name not in done:
            runs.prepare(workplace / name, {**runs.BASE, **settings}, rows)
            done[name] = runs.in_fork(workplace / name, runs.train)
        return done[name]

    return run


@pytest.fixture(scope="session")
def enabled(workplace: Path) -> Environment:
    """An environment of the tests' own in which `pact enable` has been run."""
    environment = Environment(workplace / "venv", scripts=("accelerate", "axolotl", "torchrun"))
    assert "enabled: " in environment.pact("enable").stdout
    assert environment.has_hook()
    return environment
