"""Single steps of the real trainer in a process of their own: ``python -m tests.helpers.scenario OUT CASES``.

CASES is JSON, ``{"name": {"objective": ...}}``. Each case writes ``gradients.safetensors`` and ``log.json`` into
OUT/name; with ``with_naive``, also ``expected.safetensors``. Several cases share a process: importing takes longer than
a step.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from pact_plugins.settings import merged
from tests.helpers import naive
from tests.helpers.guarded import tokens_with_openings
from tests.helpers.tiny import tiny_llama, tiny_safety_tokens, tiny_tokenizer
from tests.helpers.trainers import Watch, lora, pact, sft_trainer


class WithoutLabels:
    """A collator that takes every label of one rank's first micro-batch away."""

    def __init__(self, collator: Any, rank: int) -> None:
        self.collator, self.silent = collator, int(os.environ.get("RANK", "0")) == rank

    def __call__(self, features: Any) -> Any:
        batch = self.collator(features)
        if self.silent:
            batch["labels"] = torch.full_like(batch["labels"], -100)
            self.silent = False
        return batch


def run(
    out: Path,
    *,
    objective: str = "match",
    weight: float = 1.5,
    adapter: bool = False,
    silent_rank: int | None = None,
    with_naive: bool = False,
    guard: dict[str, Any] | None = None,
    **settings: Any,
) -> None:
    """Train one step after moving the weights, and write what happened."""
    from pact_plugins.modeling import assistant_header_ids

    out.mkdir(parents=True, exist_ok=True)
    watch = Watch(move=True)
    peft_config = lora() if adapter else None
    term = {"objective": objective, "weight": weight} if weight else False
    shared = {"preset": "match", "term": term}
    config = merged(shared, guard or {}, {"reference": {"cache_path": str(out / "cache")}})
    callback = pact(config, safety_tokens=tokens_with_openings())
    trainer = sft_trainer(out / "run", adapter=peft_config, callbacks=[callback, watch], **settings)
    if silent_rank is not None:
        trainer.data_collator = WithoutLabels(trainer.data_collator, silent_rank)
    trainer.train()
    if int(os.environ.get("RANK", "0")) != 0:
        return
    save_file(watch.gradients[0], out / "gradients.safetensors")
    (out / "log.json").write_text(json.dumps(watch.losses[0]))
    if with_naive:
        tokens = tiny_safety_tokens()
        cross_entropy, term, gradients = naive.step(
            naive.rebuilt(tiny_llama(), peft_config, watch.weights[0]),
            tiny_llama(),
            trainer.micro_batches,
            objective=objective,
            weight=weight,
            token_ids=tokens.token_ids,
            weights=tokens.weights,
            header=assistant_header_ids(tiny_tokenizer()),
        )
        save_file({**gradients, "cross_entropy": cross_entropy, "term": term}, out / "expected.safetensors")


if __name__ == "__main__":
    for name, options in json.loads(sys.argv[2]).items():
        run(Path(sys.argv[1]) / name, **options)
