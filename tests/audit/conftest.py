"""The toy benchmark's aligned model, and prompts that it refuses and helps with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from pact_lab import tiny_world


@dataclass(frozen=True)
class World:
    """A model, its tokenizer, and prompts for opening tokens and rates."""

    model: Any
    tokenizer: Any
    prompts: dict[str, list[str]]


@pytest.fixture(scope="package")
def world():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = tiny_world.aligned_path()
    prompts = {
        "harmful_prompts": tiny_world.harmful_prompts(64, seed=3, split="train"),
        "harmless_prompts": tiny_world.benign_prompts(64, seed=3, split="train"),
    }
    return World(AutoModelForCausalLM.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path), prompts)
