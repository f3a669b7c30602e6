"""Gradient receipts in the real trainer: a term that does not arrive as it should stops training before it moves."""

from __future__ import annotations

import inspect
import json
import math

import pytest
import torch
from transformers import TrainerCallback
from trl import SFTTrainer
from trl.trainer import sft_trainer as sft_trainer_module

from pact_plugins.errors import UnprotectedTrainingError
from tests.helpers.trainers import Watch, hooks_on, pact, sft_trainer, weights_of

pytestmark = pytest.mark.framework

# TRL before 1.0 computes no log-probabilities of its own that a trainer could weigh.
needs_fused_head = pytest.mark.skipif(
    "fused_lm_head" not in inspect.getsource(sft_trainer_module), reason="this TRL has no fused head"
)


class Doubling(SFTTrainer):
    def compute_loss(self, *args, **kwargs):
        return 2 * super().compute_loss(*args, **kwargs)


class SlightlyMore(SFTTrainer):
    def compute_loss(self, *args, **kwargs):
        return 1.05 * super().compute_loss(*args, **kwargs)


class Replacing(SFTTrainer):
    """Computes a loss of its own from the logits and throws the model's away."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        super().compute_loss(model, dict(inputs), num_items_in_batch=num_items_in_batch)
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten())


class Uneven(SFTTrainer):
    """Weights the first half of a batch more."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs, fused_lm_head=True)
        weight = torch.ones_like(outputs.log_probs)
        weight[0] = 3.0
        return -(outputs.log_probs * weight).sum() / num_items_in_batch


class Once(SFTTrainer):
    """Lets the term through in the first micro-batch of an accumulated batch only."""

    calls = 0

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        self.calls += 1
        if self.calls % 2:
            return super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten())
        return loss / 2


def own_loss(outputs, labels, num_items_in_batch=None):
    logits = outputs.logits[:, :-1].flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum") / num_items_in_batch


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"trainer_class": Doubling}, r"total weight of 4 instead of 2", id="doubled"),
        pytest.param({"trainer_class": SlightlyMore}, r"total weight of 2\.1 instead of 2", id="five per cent more"),
        pytest.param({"trainer_class": Replacing}, r"no gradient came back to it", id="replaced"),
        pytest.param(
            {"trainer_class": Uneven}, r"weights the term's tokens unevenly", id="uneven", marks=needs_fused_head
        ),
        pytest.param(
            {"trainer_class": Once, "gradient_accumulation_steps": 2}, r"total weight of", id="every other micro-batch"
        ),
        pytest.param({"trainer_settings": {"compute_loss_func": own_loss}}, r"compute_loss_func", id="loss function"),
    ],
)
def test_a_term_that_does_not_arrive_as_it_should_stops_training(tmp_path, settings, message):
    trainer = sft_trainer(tmp_path, callbacks=[pact()], **settings)
    before = weights_of(trainer)
    with pytest.raises(UnprotectedTrainingError, match=message) as error:
        trainer.train()
    assert "PACTCallback(config, trainer=trainer)" in str(error.value)
    assert trainer.state.global_step == 0
    assert all(torch.equal(before[name], value) for name, value in weights_of(trainer).items())
    assert not hooks_on(trainer.model)


def test_receipts_present_accepts_another_weight_but_not_none(tmp_path):
    trainer = sft_trainer(tmp_path, callbacks=[pact({"receipts": "present"})], trainer_class=Doubling)
    trainer.train()
    assert trainer.state.global_step == 1
    with pytest.raises(UnprotectedTrainingError, match="no gradient came back"):
        sft_trainer(tmp_path, callbacks=[pact({"receipts": "present"})], trainer_class=Replacing).train()


class Preferring(SFTTrainer):
    """Learns half of the batch and unlearns the other half, as preference losses do."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs, fused_lm_head=True)
        sign = torch.ones_like(outputs.log_probs)
        sign[: len(sign) // 2] = -1.0
        return -(outputs.log_probs * sign).sum() / num_items_in_batch


@needs_fused_head
@pytest.mark.parametrize("receipts", ["exact", "present"])
@pytest.mark.parametrize(
    ("trainer_class", "message"), [(Preferring, "pushes them away from the reference"), (Uneven, "unevenly")]
)
def test_a_weight_that_is_negative_or_uneven_is_no_protection(tmp_path, receipts, trainer_class, message):
    trainer = sft_trainer(tmp_path, callbacks=[pact({"receipts": receipts})], trainer_class=trainer_class)
    with pytest.raises(UnprotectedTrainingError, match=message):
        trainer.train()
    assert trainer.state.global_step == 0


class Unlabelled:
    """A collator that takes the labels of one micro-batch away, as truncation does in some frameworks."""

    def __init__(self, collator, which):
        self.collator, self.which, self.calls = collator, which, 0

    def __call__(self, features):
        batch = self.collator(features)
        if self.calls in self.which:
            batch["labels"] = torch.full_like(batch["labels"], -100)
        self.calls += 1
        return batch


def test_micro_batches_without_any_response_are_no_reason_to_stop(tmp_path):
    trainer = sft_trainer(
        tmp_path,
        callbacks=[pact(), Watch(move=True)],
        per_device_train_batch_size=1,
        gradient_accumulation_steps=4,
        max_steps=2,
    )
    collator = trainer.data_collator = Unlabelled(trainer.data_collator, which=(1, 4, 5, 6, 7))

    class FromTheFirstStep(TrainerCallback):
        """Rows that were looked at before went through the collator as well."""

        def on_train_begin(self, *given, **kwargs):
            collator.calls = 0

    trainer.add_callback(FromTheFirstStep())
    trainer.train()
    labelled = [int((batch["labels"] != -100).sum()) for batch in trainer.micro_batches]
    assert [count > 0 for count in labelled] == [True, False, True, True, False, False, False, False]
    record = json.loads((tmp_path / "pact.json").read_text())
    assert record["gradient_receipts"] == 3
    assert record["optimizer_steps_protected"] == 2
    assert math.isfinite(trainer.state.log_history[0]["pact/kl"])
    assert "pact/kl" not in trainer.state.log_history[1]
