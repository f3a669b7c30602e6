"""Resuming from a checkpoint and training twice: held to the aligned model, not to what it has become since."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from pact_plugins import PACTCallback, SafetyTokens
from pact_plugins.errors import ConfigurationError, UnprotectedTrainingError
from pact_plugins.settings import merged
from tests.helpers.guarded import tokens_with_openings
from tests.helpers.tiny import save_model, tiny_llama
from tests.helpers.trainers import ADAPTERS, hooks_on, lora, pact, sft_trainer, weights_of

pytestmark = pytest.mark.framework


def assert_resumed_run_equals_uninterrupted_one(tmp_path, kind, config, model_path):
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}

    def trainer(folder):
        model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
        return sft_trainer(folder, model=model, adapter=ADAPTERS[kind](), callbacks=[pact(config)], **settings)

    whole = trainer(tmp_path / "run")
    whole.train()
    resumed = trainer(tmp_path / "run")
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert len(resumed.micro_batches) == 2
    for name, value in weights_of(whole).items():
        torch.testing.assert_close(dict(resumed.model.named_parameters())[name], value, rtol=1e-5, atol=1e-6)
    expected, found = whole.state.log_history[3], resumed.state.log_history[3]
    assert found["pact/kl"] == pytest.approx(expected["pact/kl"], rel=1e-4)
    assert found["pact/kl"] > 0


@pytest.mark.parametrize(("kind", "reference"), [("lora", "adapter_off"), ("full", "frozen_copy")])
def test_resuming_keeps_the_aligned_model_as_reference(tmp_path, kind, reference):
    path = save_model(tmp_path / "aligned", tiny_llama())
    assert_resumed_run_equals_uninterrupted_one(tmp_path, kind, {"reference": {"kind": reference}}, path)


def test_resuming_keeps_automatic_safety_tokens(tmp_path, refusals_path):
    """On a resumed run in full the weights have moved: calibrating on them would change the target."""
    path = save_model(tmp_path / "aligned", tiny_llama())
    config = {"preset": "match", "safety_tokens": {"refusals_path": str(refusals_path), "top_k": 20}}
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "learning_rate": 5e-2}

    def trainer():
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        return sft_trainer(tmp_path / "run", model=model, callbacks=[PACTCallback(config)], **settings)

    whole = trainer()
    whole.train()
    tokens = SafetyTokens.load(tmp_path / "run" / "pact_safety_tokens.safetensors")
    resumed = trainer()
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert SafetyTokens.load(tmp_path / "run" / "pact_safety_tokens.safetensors").fingerprint == tokens.fingerprint
    assert resumed.state.log_history[3]["pact/kl"] == pytest.approx(whole.state.log_history[3]["pact/kl"], rel=1e-4)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_training_twice_keeps_the_first_reference(tmp_path, kind):
    path = save_model(tmp_path / "aligned", tiny_llama())
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    trainer = sft_trainer(tmp_path / "run", model=model, adapter=ADAPTERS[kind](), callbacks=[pact()], max_steps=2)
    trainer.train()
    first = [entry["pact/kl"] for entry in trainer.state.log_history if "pact/kl" in entry]
    trainer.train()
    second = [entry["pact/kl"] for entry in trainer.state.log_history if "pact/kl" in entry]
    assert first[0] == 0.0
    # The model has drifted from what the first training started from, and the term knows.
    assert second[0] > first[1]
    assert not hooks_on(trainer.model)


def test_training_twice_without_a_way_back_to_the_aligned_model_is_refused(tmp_path):
    trainer = sft_trainer(tmp_path, callbacks=[pact()])
    trainer.train()
    with pytest.raises(ConfigurationError, match=r"reference\.path"):
        trainer.train()


def test_resuming_in_full_without_tokens_and_without_the_aligned_models_path_is_refused(tmp_path):
    trainer = sft_trainer(tmp_path / "run", callbacks=[pact()], max_steps=4, save_strategy="steps", save_steps=2)
    trainer.train()
    (tmp_path / "run" / "pact_safety_tokens.safetensors").unlink()
    again = sft_trainer(tmp_path / "run", callbacks=[PACTCallback()], max_steps=4)
    with pytest.raises(ConfigurationError, match=r"set reference\.path to the aligned model"):
        again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))


def test_the_reference_is_asked_again_with_every_checkpoint(tmp_path):
    """A base weight moves between two checks: there is no checkpoint of it."""
    from transformers import TrainerCallback

    class Change(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 3:
                with torch.no_grad():
                    model.get_base_model().model.layers[0].self_attn.o_proj.weight.add_(0.5)

    settings = {"max_steps": 8, "save_strategy": "steps", "save_steps": 2}
    callbacks = [pact({"reference": {"kind": "adapter_off"}}), Change()]
    trainer = sft_trainer(tmp_path, adapter=ADAPTERS["lora"](), callbacks=callbacks, **settings)
    with pytest.raises(UnprotectedTrainingError, match="no longer the aligned model at step 4"):
        trainer.train()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]


def test_the_record_remembers_the_gated_rows_and_the_hits_of_earlier_segments(tmp_path):
    path = save_model(tmp_path / "aligned", tiny_llama())
    config = {"preset": "match", "row_gate": {"mode": "hard", "threshold": 1e-6}, "reference": {"kind": "cache"}}

    def train(folder, steps, **resuming):
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        callback = pact(
            merged(config, {"reference": {"cache_path": str(folder / "cache")}}), safety_tokens=tokens_with_openings()
        )
        settings = {"max_steps": steps, "save_strategy": "steps", "save_steps": 3, "lr_scheduler_type": "constant"}
        trainer = sft_trainer(
            folder, model=model, adapter=lora(), callbacks=[callback], per_device_train_batch_size=1, **settings
        )
        trainer.train(**resuming)
        record = json.loads((folder / "pact.json").read_text())
        counts = {key: record["cache"][key] for key in ("hits", "misses", "sequences")}
        return record["parts"]["row_gate"]["gated_rows"], counts, trainer.state.log_history

    whole, whole_counts, _ = train(tmp_path / "whole", 6)
    first, _, _ = train(tmp_path / "segments", 3)
    both, counts, history = train(tmp_path / "segments", 6, resume_from_checkpoint=True)
    assert 0 < len(first) < len(both)
    assert both == whole
    assert counts == whole_counts
    assert sum(entry.get("pact/gated_rows", 0) for entry in history) == len(both)
