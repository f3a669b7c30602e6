"""One anchored pass for all micro-batches of an optimizer step, with the weight of all of them."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM, TrainerCallback
from trl import SFTTrainer

from pact_plugins.settings import merged
from pact_plugins.training import joining
from tests.helpers import guarded, naive
from tests.helpers.launches import counted_launches
from tests.helpers.tiny import tiny_llama
from tests.helpers.trainers import ADAPTERS, Watch, pact, sft_trainer

pytestmark = pytest.mark.framework
COEFFICIENT = 0.7
ANCHOR = {"preset": "off", "anchor": {"prompts": "bundled", "weight": COEFFICIENT, "max_new_tokens": 5}}
MICRO_BATCHES = 4


class OwnMeans(LlamaForCausalLM):
    """Its head drops the number of all labels, so that the trainer adds up the means of micro-batches."""

    def forward(self, *args, num_items_in_batch=None, **kwargs):
        return super().forward(*args, **kwargs)


class Plain(SFTTrainer):
    """Leaves the loss to the model."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs, num_items_in_batch=num_items_in_batch)
        return (outputs.loss, outputs) if return_outputs else outputs.loss


class Quiet(Plain):
    """Does not tell the model the number of all labels: the mean of the micro-batches' means."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        return (outputs.loss, outputs) if return_outputs else outputs.loss / MICRO_BATCHES


def make(model_class):
    """The tiny Llama as an object of another class."""
    base = tiny_llama()
    made = model_class(base.config)
    made.load_state_dict(base.state_dict())
    return made


class AnchorOfRun(TrainerCallback):
    """Keeps the replies that a run's last step was anchored to."""

    def __init__(self, callback):
        self.callback, self.sequences = callback, []

    def on_step_begin(self, args, state, control, **kwargs):
        (part,) = self.callback._preparation.parts
        drawn = part._drawn

        def keep(step_index, batch):
            found = drawn(step_index, batch)
            self.sequences = [part.anchors.sequences[index] for index in found]
            return found

        part._drawn = keep


def without_last_labels(trainer):
    """Take the labels of each step's last micro-batch away, as a row cut to its prompt has none."""
    original = trainer.get_batch_samples

    def batch_samples(epoch_iterator, count, device):
        batches, _ = original(epoch_iterator, count, device)
        batches[-1]["labels"] = torch.full_like(batches[-1]["labels"], -100)
        return batches, trainer._get_num_items_in_batch(batches, device)

    trainer.get_batch_samples = batch_samples


def a_step(folder, config=None, *, outside=False, callbacks=(), last_is_empty=False, **settings):
    """A step of four uneven micro-batches from weights that have moved: its gradients, and the run's replies."""
    watch = Watch(move=True)
    trainer = sft_trainer(folder, per_device_train_batch_size=1, gradient_accumulation_steps=MICRO_BATCHES, **settings)
    if last_is_empty:
        without_last_labels(trainer)
    kept = None
    if config is not None:
        callback = pact(config, trainer=trainer if outside else None)
        kept = AnchorOfRun(callback)
        callbacks = [callback, kept, *callbacks]
    for callback in [*callbacks, watch]:
        trainer.add_callback(callback)
    trainer.train()
    return watch, kept


WAYS = {
    "fused head": (LlamaForCausalLM, {}, 1),
    "the model's loss": (LlamaForCausalLM, {"trainer_class": Plain}, 1),
    "a head that drops the number": (OwnMeans, {"trainer_class": Plain}, MICRO_BATCHES),
    "a mean of means": (LlamaForCausalLM, {"trainer_class": Quiet}, 1),
    "a loss of the trainer's own": (LlamaForCausalLM, {"label_smoothing_factor": 0.1}, 1),
}


def assert_weight(folder, way, weight, *, kind="full", **more):
    """What the anchor adds to the step's gradient is so many times its divergence."""
    model_class, settings, _ = WAYS[way]
    config = merged(ANCHOR, {"anchor": {"replies": 4, "share": 16}})
    settings = {**settings, **more, "adapter": ADAPTERS[kind]()}
    outside = "label_smoothing_factor" in settings
    plain, _ = a_step(folder, model=make(model_class), **settings)
    anchored, anchors = a_step(folder, config, outside=outside, model=make(model_class), **settings)
    moved = naive.rebuilt(tiny_llama(), ADAPTERS[kind](), anchored.weights[0])
    divergence = guarded.anchor_divergence(moved, tiny_llama(), anchors)
    expected = guarded.gradients_of(weight * COEFFICIENT * divergence, moved)
    largest = max(float(value.abs().max()) for value in expected.values())
    assert largest > 1e-4
    for name, value in expected.items():
        added = anchored.gradients[0][name] - plain.gradients[0][name]
        assert float((added - value).abs().max()) < 1e-3 * largest, name


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("way", WAYS)
def test_it_has_the_weight_of_the_whole_step(tmp_path, kind, way):
    assert_weight(tmp_path, way, WAYS[way][2], kind=kind)


@pytest.mark.parametrize("way", WAYS)
def test_it_is_there_where_the_last_micro_batch_has_no_label(tmp_path, way):
    # Where the means of micro-batches count, one fewer has one.
    means = way in ("a head that drops the number", "a mean of means")
    assert_weight(tmp_path, way, WAYS[way][2] * (0.75 if means else 1), last_is_empty=True)


def test_a_step_draws_what_its_micro_batches_would_have_drawn(tmp_path):
    sizes = []

    class Long(SFTTrainer):
        """A batch wide enough for all replies of a step beside it."""

        def compute_loss(self, model, inputs, **kwargs):
            padding = 512 - inputs["input_ids"].shape[1]
            for name, filling in (("input_ids", 0), ("attention_mask", 0), ("labels", -100)):
                inputs[name] = torch.nn.functional.pad(inputs[name], (0, padding), value=filling)
            return super().compute_loss(model, inputs, **kwargs)

    model = tiny_llama(max_position_embeddings=512)
    model.model.register_forward_pre_hook(
        lambda _module, _args, kwargs: sizes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    a_step(tmp_path, merged(ANCHOR, {"anchor": {"replies": 8, "share": 1}}), model=model, trainer_class=Long)
    in_training = sizes[-MICRO_BATCHES - 1 :]
    assert [shape[1] for shape in in_training[:-1]] == [512] * MICRO_BATCHES
    assert in_training[-1][0] == MICRO_BATCHES


def launches(folder, config, **settings):
    """Of the second step, whatever is done before and after steps left aside."""
    with counted_launches() as steps:
        a_step(folder, config, callbacks=[steps], max_steps=2, **settings)
    return steps.of_step[1]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_pass_of_its_own_is_one_more_and_not_one_for_each_micro_batch(tmp_path, monkeypatch, checkpointing):
    monkeypatch.setitem(joining._PASS_IN_TOKENS, "cpu", -(10**9))
    anchored = merged(ANCHOR, {"anchor": {"replies": 8, "share": 1}, "reference": {"check_every": 0}})
    before, after = (launches(tmp_path, config, gradient_checkpointing=checkpointing) for config in (None, anchored))
    assert 1 + 0.7 / MICRO_BATCHES < after / before < 1 + 1.6 / MICRO_BATCHES
