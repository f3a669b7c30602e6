"""Whatever LLaMA-Factory trains on, what is held are the assistant's turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.llamafactory import runs

pytestmark = pytest.mark.framework

KINDS: dict[str, dict[str, Any]] = {
    "rows": {},
    "chats": {"dataset": "chats"},
    "packed chats": {"dataset": "chats", "packing": True, "neat_packing": True, "per_device_train_batch_size": 1},
    "another template": {"template": "default"},
}


def _labels(run: runs.Run) -> int:
    return sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in run.recorder.batches)


def _held(run: runs.Run) -> int:
    assert run.record is not None
    return int(run.record["segments"][-1]["response_tokens"])


@pytest.mark.parametrize("kind", KINDS)
def test_learnt_prompts_are_not_held(settings: dict[str, Any], tmp_path: Path, kind: str) -> None:
    changes = {**KINDS[kind], "max_steps": 1}
    usual = runs.train(settings, **changes, output_dir=str(tmp_path / "usual"))
    whole = runs.train(settings, **changes, train_on_prompt=True, output_dir=str(tmp_path / "whole"))
    assert _held(usual) == _labels(usual)
    assert _labels(whole) > _labels(usual)
    # The same rows in the same order; a template of LLaMA-Factory's own labels the line break behind a turn, too.
    turns = 0 if "template" not in changes else 4
    assert _held(usual) - turns <= _held(whole) <= _held(usual)


def test_of_a_history_that_is_masked_the_last_turn_is_held(settings: dict[str, Any], tmp_path: Path) -> None:
    run = runs.train(settings, dataset="chats", mask_history=True, max_steps=1, output_dir=str(tmp_path / "masked"))
    assert _held(run) == _labels(run) > 0
