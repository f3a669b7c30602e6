"""What the term adds to a step's gradient is the term over the trainer's own denominator, whatever that one is."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.utils.data import IterableDataset
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM, Trainer

from pact_plugins.batch.micro_batch import MicroBatch, StepIndex
from pact_plugins.errors import AttachmentError, UnprotectedTrainingError
from pact_plugins.modeling import AutocastState
from pact_plugins.training.denominator import Denominator, Division, Share
from tests.helpers.plain_trainer import added, assert_same, collate, expected, rows_of, trainer_of
from tests.helpers.tiny import tiny_llama

pytestmark = pytest.mark.framework
LENGTHS = (3, 17, 6, 9)
ROWS = rows_of(LENGTHS)
ALL = float(sum(LENGTHS))


def as_class(model_class):
    """The tiny Llama as an object of another class."""

    def make():
        base = tiny_llama()
        made = model_class(base.config)
        made.load_state_dict(base.state_dict())
        return made

    return make


MIXTURES = {
    "mixtral": {"num_local_experts": 4},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "shared_expert_intermediate_size": 24,
    },
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "head_dim": 8},
    "gpt_oss": {"num_local_experts": 4, "head_dim": 8, "sliding_window": 64},
    "granitemoe": {"num_local_experts": 4},
}


def mixture(kind, coefficient=0.9, *, is_routed=True):
    """A mixture of experts whose loss holds its auxiliary loss, with a coefficient that shows."""
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    special = {"vocab_size": 368, "num_key_value_heads": 2, "pad_token_id": 0, "eos_token_id": 1}
    routed = {"output_router_logits": is_routed, "router_aux_loss_coef": coefficient, "initializer_range": 0.3}

    def make():
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **{**shape, **special, **routed, **MIXTURES[kind]})
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()

    return make


@pytest.mark.parametrize(
    "kind", [name if name == "mixtral" else pytest.param(name, marks=pytest.mark.matrix) for name in MIXTURES]
)
def test_an_auxiliary_loss_is_no_part_of_the_denominator(tmp_path, kind, caplog):
    make = mixture(kind)
    caplog.set_level("INFO")
    found, weights = added(tmp_path, make, ROWS, {})
    assert_same(found, expected(make, weights, [(ROWS, ALL)]))
    assert "drops num_items_in_batch" not in caplog.text


class Beside(LlamaForCausalLM):
    """Adds something to its loss that no output names."""

    def forward(self, *args, labels=None, **kwargs):
        output = super().forward(*args, labels=labels, output_hidden_states=True, **kwargs)
        if output.loss is not None:
            output.loss = output.loss + 3.0 + 0.1 * output.hidden_states[1].square().mean()
        return output


class OwnMean(LlamaForCausalLM):
    """Its head drops the number of all labels."""

    def forward(self, *args, num_items_in_batch=None, **kwargs):
        return super().forward(*args, **kwargs)


class OwnMeanBeside(Beside):
    """Both."""

    def forward(self, *args, num_items_in_batch=None, **kwargs):
        return super().forward(*args, **kwargs)


class Summing(LlamaForCausalLM):
    """Its loss is the sum over its labels."""

    def forward(self, *args, labels=None, num_items_in_batch=None, **kwargs):
        output = super().forward(*args, **kwargs)
        if labels is not None:
            logits = output.logits[:, :-1].flatten(0, 1)
            output.loss = functional.cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum")
        return output


class WithoutArguments(LlamaForCausalLM):
    """The trainer counts no labels for it, and averages the means of its micro-batches."""

    accepts_loss_kwargs = False


DIVISORS = {
    Beside: lambda length, passes: ALL,
    OwnMean: lambda length, passes: length,
    OwnMeanBeside: lambda length, passes: length,
    Summing: lambda length, passes: 1.0,
    WithoutArguments: lambda length, passes: length * passes,
}


def passed(model, lengths, told, *, with_logits=True, with_graph=True):
    """What the model returns for one micro-batch, and the micro-batch."""
    batch, seen = collate(rows_of(lengths)), []
    hook = model.model.register_forward_hook(lambda _module, _given, output: seen.append(output.last_hidden_state))
    with torch.set_grad_enabled(with_graph):
        output = model(**batch, num_items_in_batch=told)
    hook.remove()
    labels, (states,) = batch.pop("labels"), seen
    if not with_logits:
        output.logits = None
    return output, MicroBatch(labels, batch, states, AutocastState("cpu", False, torch.bfloat16), StepIndex(0))


OF_ONE = {
    "of all": (as_class(LlamaForCausalLM), 60, Share(Division.ALL, False, 1 / 60, 20), ""),
    "of nobody's": (as_class(LlamaForCausalLM), None, Share(Division.OWN, True, 1 / 20, 20), ""),
    "dropped": (as_class(OwnMean), 60, Share(Division.OWN, False, 1 / 20, 20), "drops num_items_in_batch"),
    "summed": (as_class(Summing), 60, Share(Division.NOTHING, False, 1.0, 20), "is a sum over its labels"),
    "unrouted": (mixture("mixtral", is_routed=False), 60, Share(Division.ALL, False, 1 / 60, 20), ""),
    "mixture": (mixture("mixtral", 9.0), 60, Share(Division.ALL, False, 1 / 60, 20), ""),
    "mixture of nobody's": (mixture("mixtral", 9.0), None, Share(Division.OWN, True, 1 / 20, 20), ""),
    "hidden": (as_class(Beside), 400, Share(Division.ALL, False, 1 / 400, 20), "divided by the labels of all"),
    "hidden of nobody's": (as_class(Beside), None, Share(Division.OWN, True, 1 / 20, 20), "divided by its own labels"),
}


@pytest.mark.parametrize("with_logits", [True, False])
@pytest.mark.parametrize("with_graph", [True, False])
@pytest.mark.parametrize("case", OF_ONE)
def test_one_micro_batch_tells(case, with_logits, with_graph, caplog):
    """Without a graph, as where it cannot be gone through twice, the loss alone has to tell."""
    make, told, share, message = OF_ONE[case]
    model = make()
    output, batch = passed(model, (3, 17), told, with_logits=with_logits, with_graph=with_graph)
    with caplog.at_level("INFO"):
        assert Denominator(model).of_loss(output, batch, told) == share
    is_said = bool(message) and not (case.startswith("hidden") and with_graph)
    assert message in caplog.text if is_said else "PACT: " not in caplog.text


def test_micro_batches_are_looked_at_until_one_tells(caplog):
    model = as_class(OwnMean)()
    denominator = Denominator(model)
    with caplog.at_level("INFO"):
        for told, factor in [(23, 1 / 23), (60, 1 / 20), (23, 1 / 20)]:
            output, batch = passed(model, (3, 17), told)
            assert denominator.of_loss(output, batch, told).factor == factor
    assert caplog.text.count("drops num_items_in_batch") == 1
    # Only the first sixteen are.
    denominator = Denominator(model)
    output, batch = passed(model, (3, 17), 20)
    for _ in range(15):
        denominator.of_loss(output, batch, 20)
    assert denominator.of_loss(*passed(model, (3, 17), 60), 60).division is Division.OWN
    denominator = Denominator(model)
    for _ in range(16):
        denominator.of_loss(output, batch, 20)
    assert denominator.of_loss(*passed(model, (3, 17), 60), 60).division is Division.ALL


class Plain(LlamaForCausalLM):
    """Takes nothing that it does not name."""

    def forward(self, input_ids, attention_mask=None, labels=None):
        return super().forward(input_ids, attention_mask=attention_mask, labels=labels)


class Said(Plain):
    """And says that the trainer counts labels for it."""

    accepts_loss_kwargs = True


@pytest.mark.parametrize(
    ("model_class", "counts"), [(LlamaForCausalLM, True), (WithoutArguments, False), (Plain, False), (Said, True)]
)
def test_log_probabilities_are_divided_as_the_trainer_counts(model_class, counts):
    model = as_class(model_class)()
    _, batch = passed(as_class(LlamaForCausalLM)(), (1,), None)
    division = Division.ALL if counts else Division.OWN
    assert Denominator(model).of_log_probs(batch) == Share(division, not counts, 1.0, 1)


def test_one_label_is_its_own_mean():
    model = as_class(OwnMean)()
    assert Denominator(model).of_loss(*passed(model, (1,), 60), 60) == Share(Division.OWN, False, 1.0, 1)


class Unshifted(LlamaForCausalLM):
    """Takes labels that are shifted already."""

    def forward(self, *args, labels=None, num_items_in_batch=None, **kwargs):
        output = super().forward(*args, **kwargs)
        total = functional.cross_entropy(output.logits.flatten(0, 1), labels.flatten(), reduction="sum")
        output.loss = total / (num_items_in_batch or (labels != -100).sum())
        return output


@pytest.mark.parametrize("told", [None, 20])
def test_a_head_that_does_not_shift_is_refused_at_once(told):
    model = as_class(Unshifted)()
    with pytest.raises(AttachmentError, match="labels that are shifted already"):
        Denominator(model).of_loss(*passed(model, (3, 17), told), told)


class Spent(torch.autograd.Function):
    """Its backward pass changes what it has kept, as kernels do that save memory."""

    @staticmethod
    def forward(ctx, loss):
        ctx.passes = 0
        return loss.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.passes += 1
        return gradient * ctx.passes


class SpentBeside(Beside):
    """A loss that has to be looked at, and cannot be."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.loss = Spent.apply(output.loss)
        return output


def test_a_loss_whose_backward_pass_cannot_be_looked_at_is_refused():
    model = as_class(SpentBeside)()
    with pytest.raises(AttachmentError, match="switch that kernel off"):
        Denominator(model).of_loss(*passed(model, (3, 17), 60), 60)


@pytest.mark.parametrize("model_class", DIVISORS)
def test_the_term_follows_the_models_own_division(tmp_path, model_class):
    make = as_class(model_class)
    found, weights = added(tmp_path, make, ROWS, {})
    batches = [([row], DIVISORS[model_class](length, 4)) for row, length in zip(ROWS, LENGTHS, strict=True)]
    assert_same(found, expected(make, weights, batches))


@pytest.mark.parametrize("model_class", [LlamaForCausalLM, WithoutArguments])
@pytest.mark.parametrize("empty", [0, 2, 3])
def test_a_micro_batch_without_labels_is_no_reason_to_stop(tmp_path, model_class, empty):
    lengths = [0 if number == empty else length for number, length in enumerate(LENGTHS)]
    rows, make = rows_of(lengths), as_class(model_class)
    found, weights = added(tmp_path, make, rows, {})
    means = model_class is WithoutArguments
    batches = [([row], 4 * length if means else sum(lengths)) for row, length in zip(rows, lengths, strict=True)]
    assert_same(found, expected(make, weights, batches))


class Stream(IterableDataset):
    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


@pytest.mark.parametrize("model_class", [LlamaForCausalLM, WithoutArguments])
def test_a_short_last_window_of_a_stream_joins_the_next_step(tmp_path, model_class):
    lengths = [*LENGTHS, 5, 12]
    rows, make = rows_of(lengths), as_class(model_class)
    found, weights = added(tmp_path, make, Stream(rows), {}, step=1, max_steps=2)
    divisors = [17.0] * 2 + [ALL] * 4
    if model_class is WithoutArguments:
        divisors = [5.0 * 2, 12.0 * 2, *(length * 4 for length in LENGTHS)]
    batches = [([row], divisor) for row, divisor in zip([*rows[4:], *rows[:4]], divisors, strict=True)]
    assert_same(found, expected(make, weights, batches))


class OwnMeansScaled(Trainer):
    """Computes local means, and says that they are to be divided by the number of micro-batches."""

    loss_is_scaled_for_ga = False

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        return functional.cross_entropy(logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten())


class AllScaled(Trainer):
    """Divides by all labels itself, though its model knows of no such number, and says so."""

    loss_is_scaled_for_ga = True

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        loss = functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten(), reduction="sum"
        )
        return loss / num_items_in_batch


@pytest.mark.parametrize("trainer_class", [OwnMeansScaled, AllScaled])
def test_a_trainer_that_says_how_its_loss_is_scaled_is_believed(tmp_path, trainer_class):
    settings = {"trainer_class": trainer_class, "average_tokens_across_devices": False}
    found, weights = added(tmp_path, tiny_llama, ROWS, {}, outside=True, **settings)
    means = trainer_class is OwnMeansScaled
    batches = [([row], 4 * length if means else ALL) for row, length in zip(ROWS, LENGTHS, strict=True)]
    assert_same(found, expected(tiny_llama, weights, batches))


class FromNowhere(Trainer):
    """Hands the model labels of -100 and learns from its own."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        logits = model(**{**inputs, "labels": torch.full_like(inputs["labels"], -100)}).logits
        return functional.cross_entropy(logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten())


def test_labels_that_the_model_never_sees_stop_training(tmp_path):
    trainer, _ = trainer_of(tmp_path, tiny_llama(), ROWS, {}, trainer_class=FromNowhere)
    with pytest.raises(UnprotectedTrainingError, match="gave the model no label"):
        trainer.train()
    assert trainer.state.global_step == 0


class NotFinite(LlamaForCausalLM):
    """A loss without end, with the gradient of the right one."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        if output.loss is not None:
            output.loss = output.loss + float("inf")
        return output


def test_a_value_that_is_no_number_is_no_receipt(tmp_path):
    make = as_class(NotFinite)
    trainer, _ = trainer_of(tmp_path, make(), ROWS, {})
    with pytest.raises(UnprotectedTrainingError, match="not a finite number"):
        trainer.train()
    assert trainer.state.global_step == 0


class Twice(Trainer):
    """Runs the backward pass of the same loss twice."""

    def compute_loss(self, *args, **kwargs):
        loss = super().compute_loss(*args, **kwargs)
        loss.backward(retain_graph=True)
        return loss


def test_a_second_backward_pass_is_counted(tmp_path):
    trainer, _ = trainer_of(tmp_path, tiny_llama(), ROWS, {}, trainer_class=Twice)
    with pytest.raises(UnprotectedTrainingError, match=r"total weight of 3 instead of 1\.5"):
        trainer.train()
