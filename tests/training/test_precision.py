"""A real gradient scaler, half-precision weights, long sequences, ``torch.compile``: under the real trainer."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pact_plugins.errors import UnprotectedTrainingError
from pact_plugins.term.part import MEASURED_POSITIONS
from pact_plugins.training.attachment import Attachment
from tests.helpers import matrix
from tests.helpers.plain_trainer import added, assert_same, expected, rows_of
from tests.helpers.tiny import tiny_llama, tiny_safety_tokens
from tests.helpers.trainers import Watch, lora, pact, sft_trainer

pytestmark = pytest.mark.framework

SCALE = 1024.0


def scaled_trainer(output, *callbacks, scale=SCALE, **settings):
    """accelerate gives the CPU no scaler of its own; the scaler and accelerate's way of using it are the real ones."""
    trainer = sft_trainer(output, adapter=lora(), callbacks=callbacks, optim="sgd", **settings)
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return trainer


def test_receipts_know_the_scale_of_a_gradient_scaler(tmp_path):
    plain = Watch(move=True)
    sft_trainer(tmp_path / "plain", adapter=lora(), callbacks=[pact({}), plain], optim="sgd").train()
    scaled = Watch(move=True)
    trainer = scaled_trainer(tmp_path / "scaled", pact({}), scaled, gradient_accumulation_steps=1)
    trainer.train()
    assert trainer.optimizer.scaler.get_scale() == SCALE
    for name, gradient in plain.gradients[0].items():
        torch.testing.assert_close(scaled.gradients[0][name] / SCALE, gradient, rtol=1e-5, atol=1e-7)


class WrongScale(torch.amp.GradScaler):
    """Says one thing and does another."""

    def scale(self, outputs):
        return super().scale(outputs) * 3


def test_a_scale_that_is_not_the_scalers_stops_training(tmp_path):
    trainer = scaled_trainer(tmp_path, pact({}), Watch(move=True))
    trainer.accelerator.scaler = WrongScale("cpu", init_scale=SCALE)
    with pytest.raises(UnprotectedTrainingError, match="total weight"):
        trainer.train()


def infinite_hidden(model, _inputs, output):
    """Log-probabilities that are infinite, with the gradient of those that are not."""
    if getattr(output, "log_probs", None) is not None:
        output.log_probs = output.log_probs - float("inf")
    return output


@pytest.mark.parametrize("scale", [None, SCALE])
def test_a_loss_that_is_no_number_is_no_receipt(tmp_path, scale):
    """Without a scaler the step is not made; with one it has to be skipped."""
    make = scaled_trainer if scale else lambda *args: sft_trainer(args[0], adapter=lora(), callbacks=args[1:])
    trainer = make(tmp_path, pact({}), Watch(move=True))
    trainer.model.register_forward_hook(infinite_hidden)
    message = "the gradient scaler did not skip it" if scale else "not a finite number"
    with pytest.raises(UnprotectedTrainingError, match=message):
        trainer.train()
    assert trainer.state.global_step == 0


def test_an_overflow_is_left_to_the_scaler(tmp_path):
    """It skips the step and halves its scale; nothing is wrong with the term."""
    watch = Watch(move=True)
    trainer = scaled_trainer(tmp_path, pact({}), watch, scale=2.0**127, max_steps=2)
    trainer.train()
    assert any(not bool(gradient.isfinite().all()) for gradient in watch.gradients[0].values())
    assert trainer.optimizer.scaler.get_scale() < 2.0**127
    for name, weight in watch.weights[0].items():
        assert torch.equal(watch.weights[1][name], weight)


def test_a_scale_that_changes_after_the_backward_pass_is_no_mistake(tmp_path):
    """DeepSpeed takes its step, and adapts its scale, inside ``backward``."""
    trainer = scaled_trainer(tmp_path, pact({}), Watch(move=True))
    backward = trainer.accelerator.backward

    def backward_then_grow(*args, **kwargs):
        backward(*args, **kwargs)
        trainer.accelerator.scaler.update(2 * SCALE)

    trainer.accelerator.backward = backward_then_grow
    trainer.train()
    assert trainer.state.global_step == 1


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_fp16_weights(tmp_path, kind):
    adapter = lora() if kind == "lora" else None
    watch = Watch()
    trainer = sft_trainer(
        tmp_path, model=tiny_llama().half(), adapter=adapter, callbacks=[pact({}), watch], max_steps=2, optim="sgd"
    )
    trainer.train()
    assert watch.losses[0]["pact/kl"] == 0
    assert watch.losses[1]["pact/kl"] > 0


class LargestTensor(TorchDispatchMode):
    """Number of elements of the largest tensor that any operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements, self.shape = 0, None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                # Of the storage: an expanded view is wide, but takes no memory.
                elements = leaf.untyped_storage().nbytes() // leaf.element_size()
                if elements > self.elements:
                    self.elements, self.shape = elements, (str(func), tuple(leaf.shape))
        return result


LENGTH, VOCABULARY, INTERMEDIATE = 8192, 4096, 48


def test_float64_weights(tmp_path):
    def make():
        return tiny_llama().double()

    rows = rows_of((3, 7, 5, 1))
    found, weights = added(tmp_path, make, rows, {})
    assert_same(found, expected(make, weights, [(rows, 16)]), 1e-5)


@pytest.mark.parametrize("kind", matrix.rows(["full", "lora"], always=("full",)))
def test_eight_thousand_tokens_without_a_wide_or_quadratic_tensor(tmp_path, monkeypatch, kind):
    """What the term adds is bounded by the decoder's own activations and by the few positions measured for the log."""
    largest = LargestTensor()
    compute, counted = Attachment._compute, []

    def watched(self, batch, *given):
        counted.append(int((batch.labels != -100).sum()))
        with largest:
            return compute(self, batch, *given)

    monkeypatch.setattr(Attachment, "_compute", watched)
    model = tiny_llama(vocab_size=VOCABULARY, max_position_embeddings=LENGTH, num_hidden_layers=1)
    text = "the film was slow but wonderful " * 2000
    row = {"prompt": [{"role": "user", "content": "a plan"}], "completion": [{"role": "assistant", "content": text}]}
    watch = Watch()
    trainer = sft_trainer(
        tmp_path,
        model=model,
        adapter=lora() if kind == "lora" else None,
        callbacks=[pact({}, safety_tokens=tiny_safety_tokens(vocabulary_size=VOCABULARY)), watch],
        train_rows=[row],
        max_length=LENGTH,
        per_device_train_batch_size=1,
    )
    trainer.train()
    assert counted[0] > LENGTH - 20
    assert watch.losses[0]["pact/kl"] == 0
    bound = max(MEASURED_POSITIONS * VOCABULARY, LENGTH * INTERMEDIATE, VOCABULARY * 32)
    assert 0 < largest.elements <= bound, largest.shape
    assert bound * 50 < LENGTH * VOCABULARY < LENGTH * LENGTH


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_compiled_model_gets_the_same_gradients(tmp_path, kind):
    results = []
    for compiled in (False, True):
        watch = Watch(move=True)
        settings = {"torch_compile": True, "torch_compile_backend": "aot_eager"} if compiled else {}
        adapter = lora() if kind == "lora" else None
        trainer = sft_trainer(tmp_path, adapter=adapter, callbacks=[pact({}), watch], **settings)
        trainer.train()
        assert hasattr(trainer.model_wrapped, "_orig_mod") == compiled
        results.append(watch)
    eager, compiled = results
    assert eager.losses[0]["pact/kl"] > 1e-3
    assert compiled.losses[0]["pact/kl"] == pytest.approx(eager.losses[0]["pact/kl"], rel=1e-4)
    found = {name.replace("_orig_mod.", ""): gradient for name, gradient in compiled.gradients[0].items()}
    assert found.keys() == eager.gradients[0].keys()
    for name, gradient in eager.gradients[0].items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)
