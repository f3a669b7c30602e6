"""Whatever Axolotl trains on, what is held are the assistant's turns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pact_lab import tiny_world
from tests.axolotl import conftest, runs
from tests.axolotl.runs import BASE, LORA, Run

pytestmark = pytest.mark.framework

(CHATS,) = BASE["datasets"]
KINDS: dict[str, dict[str, Any]] = {
    "train_on_inputs": {"train_on_inputs": True},
    "roles_to_train": {"datasets": [{**CHATS, "roles_to_train": ["user", "assistant"]}]},
    "completion": {"datasets": [{"path": "./text.jsonl", "ds_type": "json", "type": "completion"}]},
    "packed completion": {
        "datasets": [{"path": "./text.jsonl", "ds_type": "json", "type": "completion"}],
        "sample_packing": True,
        "micro_batch_size": 1,
        "attn_implementation": "sdpa",
    },
}
PACKED = {"sample_packing": True, "micro_batch_size": 1, "attn_implementation": "sdpa"}


def _held(run: Run) -> int:
    return int(run.succeeded().record["segments"][-1]["response_tokens"])


def _on_text(folder: Path, settings: dict[str, Any]) -> Run:
    """A run in a folder that holds the rows as rendered text, too."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_world.aligned_path())
    texts = [tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False) for row in conftest.ROWS]
    runs.prepare(folder, {**BASE, **settings}, conftest.ROWS)
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return runs.in_fork(folder, runs.train)


@pytest.mark.parametrize("kind", KINDS)
def test_learnt_prompts_are_not_held(
    tmp_path: Path, trained: Callable[..., Run], pact: dict[str, Any], kind: str
) -> None:
    packed = PACKED if "sample_packing" in KINDS[kind] else {}
    whole = {**pact, **LORA, "max_steps": 1 if packed else 2}
    usual = trained(f"rows {bool(packed)}", {**whole, **packed})
    other = _on_text(tmp_path / "run", {**whole, **KINDS[kind]})
    assert "are trained on too" in other.log
    assert "are trained on too" not in usual.log
    # The same rows in the same order.
    assert _held(other) == _held(usual)
