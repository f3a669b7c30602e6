"""Held to the aligned model, whatever the weights in memory have been through before training starts."""

from __future__ import annotations

import json

import pytest
import torch
from accelerate.state import AcceleratorState
from transformers import AutoModelForCausalLM

from pact_plugins import PACTCallback
from pact_plugins.errors import ConfigurationError
from pact_plugins.training.trainers import precision_of
from tests.helpers.guarded import tokens_with_openings
from tests.helpers.tiny import save_model, tiny_llama
from tests.helpers.trainers import Watch, lora, pact, sft_trainer

pytestmark = pytest.mark.framework

CONFIG = {"anchor": {"replies": 4, "max_new_tokens": 4}}


@pytest.fixture
def aligned(tmp_path):
    return save_model(tmp_path / "aligned", tiny_llama())


def loaded(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def trained(folder, model, resume=None, **settings):
    """Fingerprint of the anchors, and the divergence from them at each step."""
    callback = PACTCallback(CONFIG, safety_tokens=tokens_with_openings())
    trainer = sft_trainer(folder, model=model, callbacks=[callback], **{"learning_rate": 5e-2, **settings})
    trainer.train(resume_from_checkpoint=resume)
    record = json.loads((folder / "pact.json").read_text())
    return record["parts"]["anchor"]["fingerprint"], [
        entry["pact/anchor_kl"] for entry in trainer.state.log_history if "pact/anchor_kl" in entry
    ]


def test_a_second_trainer_is_not_held_to_what_the_first_has_made_of_the_model(tmp_path, aligned):
    model = loaded(aligned)
    fingerprint, first = trained(tmp_path / "one", model, max_steps=2)
    again, second = trained(tmp_path / "two", model, max_steps=2)
    assert first[0] == pytest.approx(0, abs=1e-5)
    assert again == fingerprint
    assert second[0] > 0.1


def test_a_model_of_no_known_path_that_was_trained_before_is_refused(tmp_path):
    model = tiny_llama()
    model.config._name_or_path = ""
    trained(tmp_path / "one", model, max_steps=1)
    with pytest.raises(ConfigurationError, match=r"set reference\.path"):
        trained(tmp_path / "two", model, max_steps=1)


def test_resuming_with_the_model_loaded_from_its_checkpoint_is_refused(tmp_path, aligned):
    folder, settings = tmp_path / "run", {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole = trained(folder, loaded(aligned), **settings)
    checkpoint = str(folder / "checkpoint-2")
    resumed = trained(folder, loaded(aligned), resume=checkpoint, **settings)
    assert resumed[0] == whole[0]
    assert resumed[1] == pytest.approx(whole[1], rel=1e-4, abs=1e-5)
    with pytest.raises(ConfigurationError, match=r"loaded from .*checkpoint-2, a trainer's checkpoint"):
        trained(folder, loaded(checkpoint), resume=checkpoint, **settings)


def test_a_checkpoint_may_be_where_a_training_begins(tmp_path, aligned):
    trained(tmp_path / "one", loaded(aligned), max_steps=2, save_strategy="steps", save_steps=2)
    _, divergences = trained(tmp_path / "two", loaded(str(tmp_path / "one" / "checkpoint-2")), max_steps=1)
    assert divergences[0] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "launched", "expected"),
    [
        ({}, "no", None),
        ({}, "bf16", torch.bfloat16),
        ({}, "fp8", None),
        ({"bf16": True}, "no", torch.bfloat16),
    ],
)
def test_precision_is_the_trainers_or_what_accelerate_was_launched_with(
    tmp_path, monkeypatch, settings, launched, expected
):
    trainer = sft_trainer(tmp_path, **settings)
    monkeypatch.setitem(AcceleratorState._shared_state, "_mixed_precision", launched)
    assert precision_of(trainer.args) == expected


@pytest.mark.parametrize("left", ["full", "merged"])
@pytest.mark.parametrize("reference", ["auto", "frozen_copy"])
def test_an_adapter_on_a_model_that_was_moved_is_not_held_to_it(tmp_path, left, reference):
    model = tiny_llama()
    sft_trainer(tmp_path, model=model, adapter=None if left == "full" else lora(), callbacks=[pact()]).train()
    if left == "merged":
        trainer = sft_trainer(tmp_path, model=tiny_llama(), adapter=lora(), callbacks=[pact(), Watch(move=True)])
        trainer.train()
        model = trainer.model.merge_and_unload()
    again = sft_trainer(tmp_path, model=model, adapter=lora(), callbacks=[pact({"reference": {"kind": reference}})])
    with pytest.raises(ConfigurationError, match="an earlier training of this process has moved"):
        again.train()


def test_another_adapter_on_weights_that_did_not_move_is_held_to_them(tmp_path):
    first = sft_trainer(tmp_path, adapter=lora(), callbacks=[pact(), Watch(move=True)])
    first.train()
    again = sft_trainer(tmp_path, model=first.model.unload(), adapter=lora(), callbacks=[pact()])
    again.train()
    assert again.state.log_history[0]["pact/kl"] == 0
