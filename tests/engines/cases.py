"""What is trained under every engine."""

from __future__ import annotations

from typing import Any

from pact_plugins.settings import merged

KL_COEF = 4.0
ENGINES = ("ddp", "fsdp2", "zero2", "zero3")
# name: adapter, whether the reference is another checkpoint, learning rate, configuration
_CASES: dict[str, tuple[str | None, bool, float, dict[str, Any]]] = {
    "lora": ("lora", False, 0.5, {}),
    "lora, reference by path": ("lora", True, 0.5, {}),
    "full": (None, True, 0.05, {"term": {"objective": "published"}}),
    "lm_head saved": ("lora_head", False, 0.5, {}),
    "lm_head saved, reference by path": ("lora_head", True, 0.5, {}),
}
NAMES = tuple(_CASES)
REFUSED = "full, reference a copy"


def case(name: str, checkpoints: tuple[str, str], *, term: bool = True) -> dict[str, Any]:
    """The worker's keyword arguments."""
    start, aligned = checkpoints
    adapter, by_path, learning_rate, config = _CASES[name]
    path = {"reference": {"path": aligned}} if by_path else {}
    return {
        "model": start,
        "adapter": adapter,
        "learning_rate": learning_rate,
        "config": merged({"preset": "match", "term": {"weight": KL_COEF} if term else False}, config, path),
    }


def all_of(checkpoints: tuple[str, str]) -> dict[str, dict[str, Any]]:
    """Every case, and every case without the term."""
    with_term = {name: case(name, checkpoints) for name in _CASES}
    without = {f"{name}, no term": case(name, checkpoints, term=False) for name in _CASES}
    return {**with_term, **without}


def refused(checkpoints: tuple[str, str]) -> dict[str, dict[str, Any]]:
    """What cannot work where the parameters are sharded."""
    return {REFUSED: {"model": checkpoints[0], "config": {}, "expect_error": True}}
