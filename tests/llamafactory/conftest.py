"""A toy benchmark for LLaMA-Factory: a model, its data in both formats, safety tokens, and one way to run it.

These tests need an environment of their own (``make .venvs/llamafactory/.installed``).
"""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

for _name, _value in {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}.items():
    os.environ.setdefault(_name, _value)

if find_spec("llamafactory") is None:
    collect_ignore_glob = ["test_*.py"]

SAFETY_TOKENS = 24


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data/`` (alpaca and sharegpt rows), ``drifted/`` (another model) and ``tokens.safetensors``."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pact_lab import tiny_world
    from pact_plugins.safety_tokens import SafetyTokens

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("world")
    data = folder / "data"
    data.mkdir()
    rows = [row.pair for row in tiny_world.finetuning_mixture(48, seed=1)]
    alpaca = [{"instruction": row["prompt"], "input": "", "output": row["response"]} for row in rows]
    chats = [_chat(rows[start : start + 3]) for start in range(0, len(rows), 3)]
    (data / "rows.json").write_text(json.dumps(alpaca))
    (data / "chats.json").write_text(json.dumps(chats))
    (data / "refusals.json").write_text(json.dumps(tiny_world.refusal_pairs(24, seed=1)))
    chat = {"file_name": "chats.json", "formatting": "sharegpt", "columns": {"messages": "conversations"}}
    (data / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}, "chats": chat}))
    tokenizer = AutoTokenizer.from_pretrained(tiny_world.aligned_path())
    SafetyTokens.random(tokenizer, len(tokenizer), count=SAFETY_TOKENS, seed=1).save(folder / "tokens.safetensors")
    model = AutoModelForCausalLM.from_pretrained(tiny_world.aligned_path())
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(folder / "drifted")
    tokenizer.save_pretrained(folder / "drifted")
    return folder


def _chat(rows: list[dict[str, str]]) -> dict[str, Any]:
    turns = []
    for row in rows:
        turns += [{"from": "human", "value": row["prompt"]}, {"from": "gpt", "value": row["response"]}]
    return {"conversations": turns}


@pytest.fixture
def settings(world: Path, tmp_path: Path) -> dict[str, Any]:
    """The arguments of a two-step LoRA run with ``stage: pact``, as a YAML file would give them."""
    from pact_lab import tiny_world

    return {
        "model_name_or_path": str(tiny_world.aligned_path()),
        "stage": "pact",
        "pact": {"preset": "match", "safety_tokens": {"file": str(world / "tokens.safetensors")}},
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": 4,
        "lora_target": "all",
        "dataset_dir": str(world / "data"),
        "dataset": "rows",
        "cutoff_len": 128,
        "output_dir": str(tmp_path / "out"),
        "per_device_train_batch_size": 4,
        "max_steps": 2,
        "logging_steps": 1,
        "learning_rate": 1.0e-3,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
    }
