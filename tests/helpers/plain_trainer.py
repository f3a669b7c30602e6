"""``transformers.Trainer`` on rows of token ids: what a term adds to its gradients, and what it should add."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainingArguments

from pact_plugins import PACTCallback
from pact_plugins.settings import merged
from tests.helpers.tiny import tiny_safety_tokens, tiny_tokenizer
from tests.helpers.trainers import Watch

IGNORED, TEMPERATURE, COEFFICIENT = -100, 2.0, 1.5
TERM = {"preset": "match", "term": {"weight": COEFFICIENT, "temperature": TEMPERATURE}}
Rows = Sequence[dict[str, list[int]]]


def rows_of(lengths: Sequence[int], seed: int = 0, prompt: int = 4) -> list[dict[str, list[int]]]:
    """One row for each length of a response; 0 is a row without any label."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for length in lengths:
        ids = torch.randint(5, 360, (prompt + length,), generator=generator).tolist()
        found.append({"input_ids": ids, "labels": [IGNORED] * prompt + ids[prompt:]})
    return found


def collate(rows: Rows) -> dict[str, Tensor]:
    """Padded on the right."""
    width = max(len(row["input_ids"]) for row in rows)

    def padded(values: list[int], filling: int) -> list[int]:
        return values + [filling] * (width - len(values))

    return {
        "input_ids": torch.tensor([padded(row["input_ids"], 0) for row in rows]),
        "labels": torch.tensor([padded(row["labels"], IGNORED) for row in rows]),
        "attention_mask": torch.tensor([padded([1] * len(row["input_ids"]), 0) for row in rows]),
    }


def trainer_of(
    folder: Path,
    model: Any,
    data: Any,
    config: dict[str, Any] | None,
    *,
    trainer_class: type[Trainer] = Trainer,
    outside: bool = False,
    safety_tokens: Any = None,
    trainer_settings: dict[str, Any] | None = None,
    **settings: Any,
) -> tuple[Any, Watch]:
    """A trainer of one row a micro-batch and no learning, ready to go; its weights move before the first step."""
    defaults: dict[str, Any] = {
        "output_dir": str(folder),
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "max_steps": 1,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 4,
        "learning_rate": 0.0,
        "max_grad_norm": 0.0,
        "logging_steps": 1,
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }

    class InOrder(trainer_class):  # type: ignore[misc, valid-type]
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    trainer = InOrder(
        model=model,
        args=TrainingArguments(**{**defaults, **settings}),
        train_dataset=data,
        data_collator=collate,
        processing_class=tiny_tokenizer(),
        **(trainer_settings or {}),
    )
    watch = Watch(move=True)
    if config is not None:
        trainer.add_callback(
            PACTCallback(
                merged(TERM, config),
                safety_tokens=safety_tokens or tiny_safety_tokens(),
                trainer=trainer if outside else None,
            )
        )
    trainer.add_callback(watch)
    return trainer, watch


def added(folder: Path, make: Callable[[], Any], data: Any, config: dict[str, Any], step: int = 0, **settings: Any):
    """(gradient with PACT less gradient without, the weights it was taken at), of one optimizer step."""
    runs = []
    for one in (None, config):
        trainer, watch = trainer_of(folder, make(), data, one, **settings)
        trainer.train()
        runs.append(watch)
    plain, held = runs
    difference = {name: held.gradients[step][name] - plain.gradients[step][name] for name in held.gradients[step]}
    return difference, held.weights[step]


def expected(
    make: Callable[[], Any],
    weights: dict[str, Tensor],
    batches: Sequence[tuple[Rows, float]],
    *,
    together: bool = False,
    make_reference: Callable[[], Any] | None = None,
) -> dict[str, Tensor]:
    """The term's gradient by autograd alone: each batch's sum over its tokens, divided by its number.

    Args:
        together: run the rows of a batch together, padded, as the trainer does; else each alone.
    """
    trained, reference, tokens = make(), (make_reference or make)(), tiny_safety_tokens().token_ids
    own = dict(trained.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)
    total = torch.zeros(())
    for rows, divisor in batches:
        for part in [rows] if together else [[row] for row in rows]:
            batch = collate(part)
            labels, inputs = batch.pop("labels"), batch
            places = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
            z = trained(**inputs).logits[:, :-1][places][:, tokens].float()
            with torch.no_grad():
                r = reference(**inputs).logits[:, :-1][places][:, tokens].float()
            target = torch.log_softmax(r / TEMPERATURE, -1)
            divergence = (target.exp() * (target - torch.log_softmax(z / TEMPERATURE, -1))).sum()
            total = total + COEFFICIENT * TEMPERATURE**2 * divergence / divisor
    total.backward()
    return {name: p.grad for name, p in trained.named_parameters() if p.grad is not None}


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float = 2e-3) -> None:
    """Every wanted gradient was found, up to a share of the largest of all."""
    largest = max(float(value.abs().max()) for value in wanted.values())
    assert largest > 1e-3
    for name, value in wanted.items():
        assert float((found[name] - value).abs().max()) < tolerance * largest, name
