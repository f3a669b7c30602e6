"""The ``drift_watch:`` block of a configuration."""

from __future__ import annotations

from pydantic import Field

from pact_plugins.settings import Block


class DriftWatchSettings(Block):
    """When the model in training is asked, what, and what follows."""

    every: int = Field(
        50, ge=1, description="optimizer steps from one evaluation to the next; the last step is evaluated too"
    )
    prompts: int = Field(
        16, ge=1, le=10_000, description="prompts of each kind: harmful, look-alike, plain and your own"
    )
    prompts_path: str | None = Field(
        None,
        description="JSON or JSONL rows with prompt or messages, and kind: harmful, lookalike or plain, instead of the "
        "bundled prompts; or the name of a behaviour, for which the bundled prompts stay beside it",
    )
    greedy: bool = Field(
        False, description="write greedy answers too, and count those that the keyword judge calls refusals"
    )
    stop_if_drift: float | None = Field(
        None,
        gt=0,
        le=1,
        description="stop training when a share of refusals, or of a behaviour, has changed for the worse by more than "
        "this",
    )
    keep_best: bool = Field(
        False, description="save the best evaluation's checkpoint, and keep it whatever save_total_limit removes"
    )
