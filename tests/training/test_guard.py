"""Gate and anchor on a model's own forward pass: their gradients are those of plain autograd."""

import json

import pytest
import torch
from peft import get_peft_model
from torch import nn
from transformers import LlamaForCausalLM

from pact_plugins.config import PACTConfig
from pact_plugins.errors import ConfigurationError, PartUnavailableError, UnprotectedTrainingError
from pact_plugins.settings import merged
from pact_plugins.training.preparation import Run, prepare
from tests.helpers import guarded
from tests.helpers.guarded import Batch, gradients_of, tokens_with_openings
from tests.helpers.tiny import tiny_llama, tiny_safety_tokens, tiny_tokenizer
from tests.helpers.trainers import hooks_on, lora, move_weights, pact, sft_trainer

BATCH = Batch.random()
ANCHOR = {"preset": "off", "anchor": {"prompts": "bundled", "replies": 4, "max_new_tokens": 5, "share": 16}}


def attached(model, **settings):
    """The model with its hooks on and its weights moved."""
    preparation = prepare(model, tiny_tokenizer(), PACTConfig(**settings), Run(safety_tokens=tokens_with_openings()))
    preparation.attachment.attach_to_outputs()
    move_weights(model)
    return preparation


def anchor_of(preparation):
    (anchor,) = (part for part in preparation.parts if part.name == "anchor")
    return anchor


def trained_llama(adapter):
    torch.manual_seed(5)
    return get_peft_model(tiny_llama(), lora()) if adapter else tiny_llama()


def settle(preparation):
    preparation.attachment.receipts.settle(loss_scale=1.0, exact=True, suspects="")


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def largest(gradients):
    return max(float(gradient.abs().max()) for gradient in gradients.values())


def weights_of(mode, scores, threshold):
    return {"hard": (scores <= threshold).float(), "soft": 1 - scores, "report": torch.ones_like(scores)}[mode]


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("mode", ["hard", "soft", "report"])
def test_the_gate_weighs_the_models_own_loss(mode, adapter):
    scores = guarded.refusal_masses(tiny_llama(), BATCH)
    threshold = float(scores.sort().values[2:4].mean())
    model = trained_llama(adapter)
    preparation = attached(model, preset="off", row_gate={"mode": mode, "threshold": threshold})
    model.train()
    # The denominator is the trainer's, here that of a larger accumulated batch.
    found = gradients_of(model(**BATCH.inputs, num_items_in_batch=torch.tensor(100)).loss, model)
    preparation.attachment.detach()
    weights = weights_of(mode, scores, threshold)
    expected = gradients_of(guarded.weighted_cross_entropy(model, BATCH, weights) / 100, model)
    assert_same(found, expected)
    assert preparation.attachment.metrics.take() == {"gated_rows": 3.0}
    (row_gate,) = preparation.parts
    rows = row_gate.gated_rows.everywhere(None)
    assert [row["score"] for row in rows] == pytest.approx(scores.sort(descending=True).values[:3].tolist(), abs=1e-5)


def test_a_gated_batch_teaches_nothing_at_all():
    model = tiny_llama()
    preparation = attached(model, preset="off", row_gate={"mode": "hard", "threshold": 1e-6})
    model.train()
    found = gradients_of(model(**BATCH.inputs).loss, model)
    settle(preparation)
    preparation.attachment.detach()
    ungated = gradients_of(model(**BATCH.inputs).loss, model)
    assert largest(ungated) > 1e-2
    assert largest(found) < 1e-5 * largest(ungated)


def test_a_reference_that_would_refuse_many_requests_is_named_once(caplog):
    model = tiny_llama()
    preparation = attached(model, preset="off", row_gate={"mode": "report", "threshold": 1e-6})
    model.train()
    said = []
    for _ in range(18):
        model(**BATCH.inputs)
        said.append(caplog.text.count("Does it refuse your task itself?"))
    preparation.attachment.detach()
    # From the hundredth response on; a batch has six.
    assert said == [0] * 16 + [1] * 2
    assert "would refuse 102 of the first 102 responses' requests" in caplog.text


@pytest.mark.parametrize(("rows", "passes"), [(1, 8), (2, 1)])
def test_rows_without_a_prompt_are_learnt_only_among_others(rows, passes):
    model, ids = tiny_llama(), torch.arange(30, 30 + rows * 8).reshape(rows, 8)
    for others in (False, True):
        preparation = attached(model, preset="off", row_gate={"mode": "report", "threshold": 0.5})
        model.train()
        if others:
            model(**BATCH.inputs)
        for _ in range(passes - 1):
            model(input_ids=ids, labels=ids)
        if others:
            model(input_ids=ids, labels=ids)
        else:
            with pytest.raises(PartUnavailableError, match=f"the first {rows * passes} responses begin with"):
                model(input_ids=ids, labels=ids)
        preparation.attachment.detach()


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_anchor_is_the_divergence_on_the_references_own_replies(adapter, checkpointing):
    model = trained_llama(adapter)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    preparation = attached(model, **merged(ANCHOR, {"anchor": {"weight": 0.7}}))
    model.train()
    found = gradients_of(model(**BATCH.inputs).loss, model)
    settle(preparation)
    preparation.attachment.detach()
    ones = torch.ones(len(BATCH.labels))
    loss = guarded.weighted_cross_entropy(model, BATCH, ones) / BATCH.response_tokens
    loss = loss + 0.7 * guarded.anchor_divergence(model, tiny_llama(), anchor_of(preparation).anchors)
    assert_same(found, gradients_of(loss, model))


def test_the_anchor_holds_a_trained_output_embedding_to_its_old_self():
    model = get_peft_model(tiny_llama(), lora(modules_to_save=["lm_head"]))
    preparation = attached(model, **ANCHOR)
    model.train()
    found = gradients_of(model(**BATCH.inputs).loss, model)
    preparation.attachment.detach()
    ones = torch.ones(len(BATCH.labels))
    loss = guarded.weighted_cross_entropy(model, BATCH, ones) / BATCH.response_tokens
    loss = loss + guarded.anchor_divergence(model, tiny_llama(), anchor_of(preparation).anchors)
    assert_same(found, gradients_of(loss, model))


@pytest.mark.parametrize("part", ["row_gate", "anchor"])
def test_neither_can_be_silently_off(part):
    model = tiny_llama()
    settings = {"preset": "off", "row_gate": {"mode": "soft"}} if part == "row_gate" else ANCHOR
    preparation = attached(model, **settings)
    model.train()
    logits = model(**BATCH.inputs).logits
    nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), BATCH.labels[:, 1:].flatten()).backward()
    with pytest.raises(UnprotectedTrainingError, match=f"the {part} was computed, but no gradient"):
        settle(preparation)
    preparation.attachment.detach()


def test_a_backward_pass_after_the_check_is_refused():
    model = tiny_llama()
    preparation = attached(model, preset="off", row_gate={"mode": "soft"})
    loss = model.train()(**BATCH.inputs).loss
    loss.backward(retain_graph=True)
    settle(preparation)
    with pytest.raises(UnprotectedTrainingError, match="after its optimizer step was checked"):
        loss.backward()
    preparation.attachment.detach()


def test_an_overflow_is_for_the_gradient_scaler_to_skip():
    model = tiny_llama()
    preparation = attached(model, preset="off", row_gate={"mode": "soft"})
    receipts = preparation.attachment.receipts
    model.train()
    for factor, awaits_skip in [(float("inf"), True), (1024.0, False)]:
        (model(**BATCH.inputs).loss * factor).backward()
        receipts.settle(loss_scale=1024.0, exact=True, suspects="")
        assert receipts.awaits_skip is awaits_skip
    (model(**BATCH.inputs).loss * float("inf")).backward()
    with pytest.raises(UnprotectedTrainingError, match="is not a finite number"):
        settle(preparation)
    preparation.attachment.detach()


class WithoutLoss(LlamaForCausalLM):
    """Leaves the loss to others."""

    def forward(self, *args, labels=None, **kwargs):
        return super().forward(*args, **kwargs)


def test_a_model_without_a_loss_is_refused_and_left_alone():
    model = WithoutLoss(tiny_llama().config)
    attached(model, preset="match")
    with pytest.raises(UnprotectedTrainingError, match="neither a loss nor per-token log_probs"):
        model.train()(**BATCH.inputs)
    assert not hooks_on(model)


def test_files_without_opening_tokens_are_refused():
    with pytest.raises(ConfigurationError, match=r"row_gate: .*name no openings.*harmless_prompts_path"):
        prepare(
            tiny_llama(),
            tiny_tokenizer(),
            PACTConfig(preset="match", row_gate={"mode": "report"}),
            Run(safety_tokens=tiny_safety_tokens()),
        )


def test_a_gated_anchor_needs_data_that_can_be_read_ahead():
    with pytest.raises(ConfigurationError, match=r"anchor\.prompts: gated: the training set has to be read"):
        prepare(
            tiny_llama(),
            tiny_tokenizer(),
            PACTConfig(preset="match", anchor={"prompts": "gated"}),
            Run(safety_tokens=tokens_with_openings()),
        )


def test_losses_of_the_trainers_own_are_refused_by_name(tmp_path):
    trainer = sft_trainer(tmp_path, label_smoothing_factor=0.1)
    trainer.add_callback(pact({"row_gate": True}, safety_tokens=tokens_with_openings(), trainer=trainer))
    with pytest.raises(ConfigurationError, match=r"label_smoothing_factor .*pact audit MODEL DATA --filtered"):
        trainer.train()


@pytest.fixture(scope="module")
def guarded_run(tmp_path_factory):
    """Two epochs of eight rows through TRL with gate, gated anchor and term."""
    folder = tmp_path_factory.mktemp("guarded")
    config = {
        "preset": "guard",
        "anchor": {"prompts": "gated", "replies": 4, "max_new_tokens": 5},
        "row_gate": {"threshold": 0.5},
        "reference": {"cache_path": str(folder / "cache")},
    }
    callback = pact(config, safety_tokens=tokens_with_openings())
    trainer = sft_trainer(
        folder / "run",
        adapter=lora(),
        callbacks=[callback],
        max_steps=4,
        per_device_train_batch_size=4,
    )
    trainer.train()
    return trainer, json.loads((folder / "run" / "pact.json").read_text()), folder / "run"


def test_gated_rows_are_named_by_their_place_in_the_training_set(guarded_run):
    trainer, record, _ = guarded_run
    rows = record["parts"]["row_gate"]["gated_rows"]
    assert rows
    for row in rows:
        ids = trainer.train_dataset[row["row"]]["input_ids"]
        assert row["score"] > 0.5
        assert row["prompt"] in tiny_tokenizer().decode(ids, skip_special_tokens=True)
        assert row["text"] in tiny_tokenizer().decode(ids, skip_special_tokens=True)
    logged = sum(entry.get("pact/gated_rows", 0) for entry in trainer.state.log_history)
    assert logged == 2 * len(rows)


def test_gated_rows_become_anchors_beside_bundled_harmless_prompts(guarded_run):
    _, record, folder = guarded_run
    anchors = json.loads((folder / "pact_anchors.json").read_text())
    assert [row["kind"] for row in anchors] == ["harmful"] * 2 + ["harmless"] * 2
    prompts = [row["prompt"] for row in record["parts"]["row_gate"]["gated_rows"]]
    assert all(any(prompt in row["context"] for prompt in prompts) for row in anchors[:2])
    assert record["parts"]["anchor"]["replies"] == {"harmful": 2, "harmless": 2}
    assert record["config"]["preset"] == "guard"
    assert record["config"]["row_gate"]["mode"] == "hard"
    assert {"pact/kl", "pact/anchor_kl", "pact/gated_rows"} <= record["last_log"].keys()


ALL_RESPONSE = {"input_ids": [7, 8, 9, 10, 11, 12, 1], "completion_mask": [1] * 7}
WITH_PROMPT = [
    {"input_ids": [7, 8, 9, 30 + place, 11, 12, 1], "completion_mask": [0, 0, 0, 0, 1, 1, 1]} for place in range(7)
]


def trained_on(folder, train_rows):
    config = {"preset": "gate_anchor", "anchor": {"replies": 4, "max_new_tokens": 4}, "row_gate": {"threshold": 0.01}}
    trainer = sft_trainer(
        folder,
        adapter=lora(),
        callbacks=[pact(config, safety_tokens=tokens_with_openings())],
        train_rows=train_rows,
        max_steps=len(train_rows),
        per_device_train_batch_size=1,
        completion_only_loss=True,
    )
    trainer.train()
    return json.loads((folder / "pact.json").read_text())


def test_a_row_without_a_prompt_among_others_is_learnt(tmp_path):
    record = trained_on(tmp_path, [*WITH_PROMPT, ALL_RESPONSE])
    assert record["optimizer_steps_protected"] == 8
    # A refusal mass above the threshold is likely after any prompt of this model.
    assert {row["row"] for row in record["parts"]["row_gate"]["gated_rows"]} == set(range(7))


def test_rows_without_a_prompt_alone_stop_the_run(tmp_path):
    with pytest.raises(ConfigurationError, match="the rows hold no request to be judged"):
        trained_on(tmp_path, [ALL_RESPONSE] * 12)
