"""What every test room shares: one thread, a private cache, a tiny tokenizer and model."""

from __future__ import annotations

import gc
import os

# Before torch is imported: two contended threads are many times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """What has been imported by now stays: no later collection, and a trainer forces several, has to walk it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("PACT_CACHE_PATH", str(folder))
    return folder


@pytest.fixture
def tokenizer():
    from tests.helpers.tiny import tiny_tokenizer

    return tiny_tokenizer()


@pytest.fixture
def model():
    from tests.helpers.tiny import tiny_llama

    return tiny_llama()


@pytest.fixture
def safety_tokens(tokenizer):
    from tests.helpers.tiny import tiny_safety_tokens

    return tiny_safety_tokens(tokenizer)


@pytest.fixture
def refusals_path(tmp_path):
    from tests.helpers.tiny import write_refusals

    return write_refusals(tmp_path / "refusals.jsonl")
