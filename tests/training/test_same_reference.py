"""Every segment is held to the aligned model that the first one began from, and to what was made of it."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM

from pact_plugins import PACTCallback
from pact_plugins.anchor.anchors import AnchorSet
from pact_plugins.errors import ConfigurationError
from pact_plugins.verification import verify
from tests.helpers.guarded import tokens_with_openings
from tests.helpers.tiny import save_model, tiny_llama
from tests.helpers.trainers import ADAPTERS, lora, move_weights, pact, sft_trainer

pytestmark = pytest.mark.framework
SAVING = {"save_strategy": "steps", "save_steps": 2, "lr_scheduler_type": "constant"}


@pytest.fixture
def base(tmp_path):
    return save_model(tmp_path / "base", tiny_llama())


def loaded(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def merged(path):
    """Aligned in memory only: the base model with an adapter that taught it to refuse, merged."""
    torch.manual_seed(7)
    model = get_peft_model(loaded(path), lora())
    move_weights(model, size=0.3)
    return model.merge_and_unload().requires_grad_(True)


def train(folder, model, *, kind="full", config=None, resume=None, steps=4):
    callback = pact(config) if config is None or "preset" in config else PACTCallback(config)
    trainer = sft_trainer(
        folder, model=model, adapter=ADAPTERS[kind](), callbacks=[callback], max_steps=steps, **SAVING
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_a_model_that_was_aligned_in_memory_is_not_resumed_beside_its_unaligned_base(tmp_path, base):
    train(tmp_path / "out", merged(base), steps=2)
    again = {"resume": str(tmp_path / "out" / "checkpoint-2")}
    with pytest.raises(ConfigurationError, match="is not the aligned model that this run began from"):
        train(tmp_path / "out", merged(base), **again)
    aligned = save_model(tmp_path / "aligned", merged(base))
    config = {"preset": "match", "reference": {"path": aligned}}
    train(tmp_path / "out", merged(base), config=config, **again).save_model()
    assert verify(tmp_path / "out").problems == []


@pytest.mark.parametrize("kind", ADAPTERS)
def test_other_weights_at_the_models_path_are_found_when_resuming(tmp_path, base, kind):
    train(tmp_path / "out", loaded(base), kind=kind, steps=2)
    save_model(tmp_path / "base", tiny_llama(seed=1))
    with pytest.raises(ConfigurationError, match="is not the aligned model that this run began from"):
        train(tmp_path / "out", loaded(base), kind=kind, resume=str(tmp_path / "out" / "checkpoint-2"))


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_model_that_a_plain_trainer_has_moved_is_not_taken_for_the_aligned_one(tmp_path, base, kind):
    model = loaded(base)
    sft_trainer(tmp_path / "plain", model=model, max_steps=1).train()
    with pytest.raises(ConfigurationError, match="an optimizer of this process has moved the model's weights"):
        train(tmp_path / "out", model, kind=kind)
    train(tmp_path / "out", model, kind=kind, config={"preset": "match", "reference": {"path": base}}, steps=1)


def test_anchors_are_taken_up_and_never_sampled_again(tmp_path, base):
    config = {"anchor": {"replies": 4, "max_new_tokens": 4}}
    settings = {"max_steps": 4, **SAVING}

    def run(cache, resume=None):
        settings_of_cache = {"reference": {"cache_path": str(tmp_path / cache)}}
        callback = PACTCallback({**config, **settings_of_cache}, safety_tokens=tokens_with_openings())
        sft_trainer(tmp_path / "out", model=loaded(base), callbacks=[callback], **settings).train(
            resume_from_checkpoint=resume
        )
        return AnchorSet.load(tmp_path / "out" / "pact_anchors.safetensors").fingerprint

    first = run("one")
    torch.manual_seed(99)
    assert run("two", resume=str(tmp_path / "out" / "checkpoint-2")) == first
    assert not list((tmp_path / "two").rglob("*anchor*"))
