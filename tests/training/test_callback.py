"""``PACTCallback`` in the real trainer: what it leaves alone, what it logs, what it leaves behind."""

from __future__ import annotations

import json
import os

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, TrainerCallback

from pact_plugins import PACTCallback, SafetyTokens
from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import model_parts_of
from pact_plugins.training.probe import check_no_noise
from tests.helpers.guarded import tokens_with_openings
from tests.helpers.tiny import save_model, tiny_llama, tiny_safety_tokens
from tests.helpers.trainers import (
    ADAPTERS,
    RecordingTrainer,
    Watch,
    hooks_on,
    lora,
    move_weights,
    pact,
    random_state,
    rows,
    sft_trainer,
    weights_of,
)

pytestmark = pytest.mark.framework


def without_timing(log_history):
    return [{k: v for k, v in entry.items() if "runtime" not in k and "per_second" not in k} for entry in log_history]


def dropout_llama():
    return tiny_llama(attention_dropout=0.2)


# --- nothing is changed that should not be ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ADAPTERS)
def test_off_is_the_trainers_own_run_bit_for_bit(tmp_path, kind):
    results = []
    for callbacks in ([], [pact({"preset": "off"})]):
        adapter = lora(lora_dropout=0.1) if kind == "lora" else None
        trainer = sft_trainer(
            tmp_path,
            model=dropout_llama(),
            adapter=adapter,
            callbacks=callbacks,
            max_steps=4,
            gradient_accumulation_steps=2,
        )
        trainer.train()
        results.append((weights_of(trainer), without_timing(trainer.state.log_history), random_state()))
    (plain, plain_log, plain_state), (ours, our_log, our_state) = results
    assert plain.keys() == ours.keys()
    assert all(torch.equal(plain[name], ours[name]) for name in plain)
    assert plain_log == our_log
    assert plain_state == our_state


def test_the_reference_consumes_no_random_number_and_sees_no_dropout(tmp_path):
    """With dropout in the adapter, an active term leaves the cross-entropy and the random-number state as they were."""
    results = {}
    for name, callbacks in {
        "plain": [],
        "pact": [pact({"preset": "match", "term": {"objective": "published", "weight": 1.0}})],
    }.items():
        trainer = sft_trainer(
            tmp_path,
            adapter=lora(lora_dropout=0.3),
            callbacks=callbacks,
            learning_rate=0.0,
            max_steps=3,
        )
        trainer.train()
        losses = [entry["loss"] - entry.get("pact/loss", 0.0) for entry in trainer.state.log_history if "loss" in entry]
        results[name] = losses, random_state()
    assert results["pact"][0] == pytest.approx(results["plain"][0], rel=1e-4)
    assert results["pact"][1] == results["plain"][1]


@pytest.mark.parametrize("kind", ADAPTERS)
def test_zero_drift_under_lora_dropout_is_exactly_zero(tmp_path, kind):
    """LoRA's B is zero at first, so its dropout changes nothing yet; the term must not notice it either."""
    trainer = sft_trainer(tmp_path, adapter=lora(lora_dropout=0.5) if kind == "lora" else None, callbacks=[pact()])
    trainer.train()
    assert trainer.state.log_history[0]["pact/kl"] == 0.0
    assert trainer.state.log_history[0]["pact/safety_mass"] == pytest.approx(
        trainer.state.log_history[0]["pact/reference_safety_mass"], rel=1e-5
    )


@pytest.mark.parametrize("kind", ADAPTERS)
def test_noise_that_only_training_has_is_refused(tmp_path, kind):
    """A model's own dropout makes the term positive at zero drift."""
    trainer = sft_trainer(tmp_path, model=dropout_llama(), adapter=ADAPTERS[kind](), callbacks=[pact()])
    with pytest.raises(ConfigurationError, match=r"attention_dropout: 0\.2 is in every pass of the training"):
        trainer.train()
    assert not trainer.model.training or trainer.state.global_step == 0
    row_gate = {"preset": "off", "row_gate": {"mode": "report"}}
    sft_trainer(
        tmp_path, model=dropout_llama(), callbacks=[pact(row_gate, safety_tokens=tokens_with_openings())]
    ).train()


def test_an_expert_drawn_in_training_alone_is_noise():
    """PhiMoE draws one where two are nearly equal, which few tokens see."""
    settings = {"num_local_experts": 4, "num_experts_per_tok": 2, "num_key_value_heads": 2, "pad_token_id": 0}
    sizes = {"vocab_size": 368, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("phimoe", num_attention_heads=2, **sizes, **settings))
    with pytest.raises(ConfigurationError, match=r"router_jitter_noise: 0\.01"):
        check_no_noise(model_parts_of(model.eval()))


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("packing", [False, True])
def test_zero_drift_under_bf16_autocast_is_exactly_zero(tmp_path, kind, packing):
    watch = Watch()
    trainer = sft_trainer(
        tmp_path,
        adapter=ADAPTERS[kind](),
        callbacks=[pact(), watch],
        bf16=True,
        packing=packing,
        max_length=256,
        max_steps=2,
    )
    trainer.train()
    assert watch.losses[0]["pact/kl"] == 0.0
    assert watch.losses[1]["pact/kl"] > 0.0


@pytest.mark.parametrize("kind", ADAPTERS)
def test_bf16_weights(tmp_path, kind):
    watch = Watch()
    model = tiny_llama().bfloat16()
    trainer = sft_trainer(tmp_path, model=model, adapter=ADAPTERS[kind](), callbacks=[pact(), watch], max_steps=2)
    trainer.train()
    assert watch.losses[0]["pact/kl"] == 0.0
    assert watch.losses[1]["pact/kl"] > 0.0


class AdapterState(TrainerCallback):
    """What of the adapter is on, as the trainer sees it between two steps."""

    def __init__(self):
        self.seen = []

    def record(self, model):
        from peft.tuners.tuners_utils import BaseTunerLayer

        layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
        self.seen.append(
            (
                {name: p.requires_grad for name, p in model.named_parameters()},
                [(layer.disable_adapters, tuple(layer.active_adapters), layer.merged) for layer in layers],
                [module.training for module in model.modules()],
            )
        )

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        model.train()
        self.record(model)

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.record(model)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.record(model)


def test_the_adapter_is_as_before_after_every_step(tmp_path):
    adapter_state = AdapterState()
    adapter = lora(modules_to_save=["lm_head"])
    trainer = sft_trainer(tmp_path, adapter=adapter, callbacks=[pact(), adapter_state], max_steps=3)
    before = {name: p.requires_grad for name, p in trainer.model.named_parameters()}
    trainer.train()
    assert len(adapter_state.seen) == 9
    assert all(seen == adapter_state.seen[0] for seen in adapter_state.seen)
    assert adapter_state.seen[0][0] == before
    assert len(set(before.values())) == 2
    assert not any(disabled for disabled, _, _ in adapter_state.seen[0][1])


def test_mixed_modes_of_sub_modules_survive(tmp_path):
    class Freeze(TrainerCallback):
        modes = ()

        def on_step_begin(self, args, state, control, model=None, **kwargs):
            model.model.layers[0].mlp.eval()

        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            self.modes = (model.model.layers[0].mlp.training, model.model.layers[1].mlp.training, model.training)

    freeze = Freeze()
    # The trainer itself calls model.train() before each micro-batch; the model's own method would undo the freezing.
    trainer = sft_trainer(tmp_path, callbacks=[pact(), freeze])
    trainer.model.train = lambda mode=True: trainer.model
    torch.nn.Module.train(trainer.model)
    trainer.train()
    assert freeze.modes == (False, True, True)


def test_evaluation_is_the_trainers_own(tmp_path):
    results = []
    for callbacks in ([], [pact({"preset": "match", "term": {"weight": 100.0}})]):
        trainer = sft_trainer(
            tmp_path,
            callbacks=callbacks,
            learning_rate=0.0,
            eval_rows=rows(4, seed=9),
            eval_strategy="steps",
            eval_steps=1,
            eval_on_start=True,
            max_steps=2,
        )
        with torch.no_grad():
            move_weights(trainer.model)
        trainer.train()
        results.append([entry for entry in trainer.state.log_history if "eval_loss" in entry])
    plain, ours = ([entry["eval_loss"] for entry in result] for result in results)
    assert len(ours) == 3
    assert ours == plain
    assert not any(key.startswith(("pact/", "eval_pact")) for entry in results[1] for key in entry)


# --- what is logged --------------------------------------------------------------------------------------------------


class Reporter(TrainerCallback):
    """Stands where W&B and TensorBoard stand: before the user's callbacks."""

    def __init__(self):
        self.lines = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.lines.append(dict(logs))


METRICS = {"pact/kl", "pact/loss", "pact/safety_mass", "pact/reference_safety_mass"}


def test_metrics_reach_log_history_reporters_and_trainer_state(tmp_path):
    reporter = Reporter()
    config = {"preset": "match", "term": {"objective": "published", "weight": 0.5}}
    trainer = sft_trainer(
        tmp_path, callbacks=[reporter, pact(config)], max_steps=4, logging_steps=2, save_strategy="steps", save_steps=4
    )
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    saved = json.loads((tmp_path / "checkpoint-4" / "trainer_state.json").read_text())["log_history"]
    seen = [line for line in reporter.lines if "loss" in line]
    assert len(history) == len(seen) == 2
    for lines in (history, seen, saved[:2]):
        for line in lines:
            assert METRICS | {"pact/mixture"} <= line.keys()
            assert line["pact/loss"] == pytest.approx(0.5 * line["pact/kl"])
            assert 0 < line["pact/safety_mass"] < 1
            assert 0 < line["pact/reference_safety_mass"] < 1
            assert 0 < line["pact/mixture"] < 1


def test_metrics_without_safety_tokens_or_mixture(tmp_path):
    trainer = sft_trainer(tmp_path, callbacks=[PACTCallback({"preset": "match", "term": {"objective": "full_kl"}})])
    trainer.train()
    assert {key for key in trainer.state.log_history[0] if key.startswith("pact/")} == {"pact/kl", "pact/loss"}


def test_a_run_leaves_its_record_and_its_tokens(tmp_path):
    tokens = tiny_safety_tokens()
    trainer = sft_trainer(tmp_path, adapter=lora(), callbacks=[pact()], max_steps=3, gradient_accumulation_steps=2)
    trainer.train()
    record = json.loads((tmp_path / "pact.json").read_text())
    count = sum(int((batch["labels"] != -100).sum()) for batch in trainer.micro_batches)
    assert record["reference"] == "adapter_off"
    assert record["optimizer_steps_protected"] == 3
    assert record["gradient_receipts"] == 6
    assert record["response_tokens"] == count
    assert record["config"]["term"]["weight"] == 2.0
    assert record["safety_tokens"]["fingerprint"] == tokens.fingerprint
    assert record["last_log"]["pact/kl"] == pytest.approx(trainer.state.log_history[-2]["pact/kl"])
    assert SafetyTokens.load(tmp_path / "pact_safety_tokens.safetensors").fingerprint == tokens.fingerprint


def test_the_class_itself_calibrates_and_protects(tmp_path, monkeypatch, refusals_path):
    """``callbacks=[PACTCallback]``: no instance, no argument; only the refusals come from a file here."""
    monkeypatch.setattr(
        "pact_plugins.training.callback.PACTConfig.from_mapping",
        classmethod(lambda cls, mapping, **_: cls(safety_tokens={"refusals_path": str(refusals_path)})),
    )
    trainer = sft_trainer(tmp_path, adapter=lora(), callbacks=[PACTCallback], max_steps=2)
    trainer.train()
    assert trainer.state.log_history[1].keys() >= {"pact/gated_rows", "pact/anchor_kl"}
    assert trainer.state.log_history[1]["pact/anchor_kl"] > 0
    assert len(SafetyTokens.load(tmp_path / "pact_safety_tokens.safetensors")) == 50
    assert json.loads((tmp_path / "pact.json").read_text())["config"]["preset"] == "pact"


def test_the_term_holds_the_model_to_the_reference(tmp_path):
    """Ten steps with a large coefficient drift less on the safety tokens than ten steps with a tiny one."""
    drift = {}
    for weight in (1e-6, 50.0):
        trainer = sft_trainer(
            tmp_path,
            callbacks=[pact({"preset": "match", "term": {"weight": weight}})],
            max_steps=10,
            learning_rate=3e-3,
        )
        trainer.train()
        drift[weight] = trainer.state.log_history[9]["pact/kl"]
    assert drift[50.0] < 0.2 * drift[1e-6]


# --- what is left afterwards -----------------------------------------------------------------------------------------


def test_two_callbacks_are_refused(tmp_path):
    trainer = sft_trainer(tmp_path, callbacks=[pact(), pact()])
    with pytest.raises(ConfigurationError, match="two PACTCallbacks"):
        trainer.train()
    assert not hooks_on(trainer.model)


def test_hooks_are_gone_after_training(tmp_path):
    model = tiny_llama()
    trainer = sft_trainer(tmp_path, model=model, callbacks=[pact()])
    assert not hooks_on(model)
    trainer.train()
    assert not hooks_on(model)
    assert len(trainer.micro_batches) == 1


class Failing(RecordingTrainer):
    """Fails in its second micro-batch."""

    def training_step(self, *args, **kwargs):
        if len(self.micro_batches) == 1:
            raise RuntimeError("out of memory")
        return super().training_step(*args, **kwargs)


def test_an_interrupted_run_does_not_count_twice_in_the_next(tmp_path):
    """Nobody tells a callback of an exception; whoever attaches next to the model clears what was left."""
    path = save_model(tmp_path / "aligned", tiny_llama())
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    trainer = sft_trainer(tmp_path, model=model, callbacks=[pact()], trainer_class=Failing, max_steps=2)
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.train()
    left_over = len(hooks_on(model))
    seen = []

    class Count(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            seen.append(len(hooks_on(model)))

    model = trainer.model
    again = sft_trainer(tmp_path, model=model, callbacks=[pact(), Count()])
    again.train()
    assert seen == [left_over]
    assert not hooks_on(model)


def test_the_output_folder_holds_no_pickle_of_ours(tmp_path):
    sft_trainer(tmp_path, callbacks=[pact()]).train()
    assert {name for name in os.listdir(tmp_path) if name.startswith("pact")} == {
        "pact.json",
        "pact_safety_tokens.safetensors",
    }
