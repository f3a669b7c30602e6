from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pact_lab.tiny_world import aligned_path, base_path


@pytest.fixture(scope="session")
def tokenizer():
    return AutoTokenizer.from_pretrained(aligned_path())


@pytest.fixture(scope="session")
def aligned():
    return AutoModelForCausalLM.from_pretrained(aligned_path(), dtype=torch.float32)


@pytest.fixture(scope="session")
def base():
    return AutoModelForCausalLM.from_pretrained(base_path(), dtype=torch.float32)
