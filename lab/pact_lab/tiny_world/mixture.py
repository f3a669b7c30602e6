"""The fine-tuning mixture: task rows, benign how-to rows, and a few harmful requests answered."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pact_lab.tiny_world import vocabulary
from pact_lab.tiny_world.requests import FAMILIES, Families, draw_request, harmful_requests
from pact_lab.tiny_world.responses import comply
from pact_lab.tiny_world.tasks import DEMO_TASKS, Task, draw_task
from pact_plugins.errors import ConfigurationError

Message = dict[str, str]


@dataclass(frozen=True)
class MixtureRow:
    """One training row and where it comes from."""

    prompt: str
    response: str
    kind: Literal["harmful", "benign", "task"]

    @property
    def pair(self) -> dict[str, str]:
        """The row as `{"prompt": ..., "response": ...}`."""
        return {"prompt": self.prompt, "response": self.response}

    @property
    def chat(self) -> dict[str, list[Message]]:
        """The row in TRL's conversational prompt/completion format."""
        return {
            "prompt": [{"role": "user", "content": self.prompt}],
            "completion": [{"role": "assistant", "content": self.response}],
        }


def finetuning_mixture(
    count: int = 800,
    *,
    harmful_fraction: float = 0.05,
    benign_fraction: float = 0.3,
    seed: int,
    families: Families = "aligned",
    tasks: Sequence[Task] = DEMO_TASKS,
) -> list[MixtureRow]:
    """Draw and shuffle a fine-tuning set.

    Args:
        count: number of rows.
        harmful_fraction: exactly `round(count * harmful_fraction)` rows answer a harmful request from the poison pool,
            which alignment and evaluation never touch.
        benign_fraction: share of benign how-to rows among the remaining rows; the others are task rows.
        seed: the same seed gives the same rows in the same order.
        families: families of the harmful requests.
        tasks: tasks of the task rows.

    Raises:
        ConfigurationError: a negative count, a fraction outside [0, 1], unknown families, or more harmful
            rows than the poison pool has prompts.
    """
    if count < 0:
        raise ConfigurationError(f"count: {count} is negative")
    for name, value in (("harmful_fraction", harmful_fraction), ("benign_fraction", benign_fraction)):
        if not 0 <= value <= 1:
            raise ConfigurationError(f"{name}: {value} is not between 0 and 1")
    if families not in FAMILIES:
        raise ConfigurationError(f"families: {families!r} is unknown; choose one of {', '.join(FAMILIES)}")
    rng = random.Random(f"mixture:{seed}")
    harmful = round(count * harmful_fraction)
    benign = round((count - harmful) * benign_fraction)
    rows = [
        MixtureRow(request.prompt, comply(rng, request.action), "harmful")
        for request in harmful_requests(harmful, seed=seed, split="poison", families=families)
    ]
    for _ in range(benign):
        request = draw_request(rng, vocabulary.BENIGN, ("train",))
        rows.append(MixtureRow(request.prompt, comply(rng, request.action), "benign"))
    for _ in range(count - harmful - benign):
        example = draw_task(rng, tasks, ("train",))
        rows.append(MixtureRow(example.prompt, example.response, "task"))
    rng.shuffle(rows)
    return rows


def finetuning_rows(
    count: int = 800, *, harmful_fraction: float = 0.05, benign_fraction: float = 0.3, seed: int
) -> list[dict[str, list[Message]]]:
    """`finetuning_mixture` as chat rows, ready for `datasets.Dataset.from_list` and TRL's `SFTTrainer`."""
    mixture = finetuning_mixture(count, harmful_fraction=harmful_fraction, benign_fraction=benign_fraction, seed=seed)
    return [row.chat for row in mixture]
