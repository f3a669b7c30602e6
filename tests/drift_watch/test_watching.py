"""The drift watch in real trainings: it sees what is there, leaves no trace, stops, and keeps the best checkpoint."""

from __future__ import annotations

import json
import re

import datasets
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTTrainer

from pact_evals.report.training_log import read_curves
from pact_lab import tiny_world
from pact_plugins import PACTCallback
from pact_plugins.drift_watch import DriftWatchSettings
from pact_plugins.drift_watch.prompts import watched_prompts
from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import prompt_ids
from pact_plugins.modeling.generation import continue_ids
from pact_plugins.settings import merged
from tests.helpers.guarded import REFUSAL_OPENING_TOKENS, tokens_with_openings
from tests.helpers.tiny import save_model, tiny_llama, tiny_tokenizer
from tests.helpers.trainers import ADAPTERS, arguments, hooks_on, lora, pact, random_state, sft_trainer, weights_of
from tests.helpers.watched_world import drifting_rows, watch_settings

pytestmark = pytest.mark.framework


def watched(**drift_watch):
    settings = {"every": 2, "prompts": 3, **drift_watch}
    return pact({"drift_watch": settings}, safety_tokens=tokens_with_openings())


def evaluations(trainer):
    return [entry for entry in trainer.state.log_history if "pact/drift" in entry]


@torch.no_grad()
def refusal_mass(model, prompt):
    ids = torch.tensor([prompt_ids(tiny_tokenizer(), prompt)])
    return float(model.eval()(input_ids=ids).logits[0, -1].softmax(-1)[REFUSAL_OPENING_TOKENS].sum())


def test_the_mass_is_that_of_full_logits(tmp_path):
    trainer = sft_trainer(tmp_path, callbacks=[watched()], max_steps=3)
    trainer.train()
    start, middle, last = evaluations(trainer)
    assert [entry["step"] for entry in (start, middle, last)] == [0, 2, 3]
    for model, entry in ((tiny_llama(), start), (trainer.model, last)):
        for kind, prompts in watched_prompts(DriftWatchSettings(prompts=3)).items():
            expected = sum(refusal_mass(model, prompt.text) for prompt in prompts) / 3
            assert entry[f"pact/refusal_mass_{kind}"] == pytest.approx(expected, abs=1e-5)
    assert last["pact/drift"] > 0
    assert json.loads((tmp_path / "pact.json").read_text())["drift_watch"]["last"]["drift"] == last["pact/drift"]


def test_own_behaviours_are_measured_by_pattern_or_by_agreement_and_logged_by_the_anchor(tmp_path):
    """From a fresh start and resumed: what is not in the log, the aligned model's replies, is written again."""
    replies = {text: reply_of(tiny_llama(), text) for text in ("a list", "a table", "hello", "good day", "good night")}
    rows = [
        {"prompt": text, "kind": "form", "expect": re.escape(tiny_tokenizer().decode(replies[text]))}
        for text in ("a list", "a table")
    ]
    rows += [{"prompt": text, "kind": "tone"} for text in ("hello", "good day", "good night")]
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = save_model(tmp_path / "aligned", tiny_llama())

    def trainer():
        watch = {"every": 2, "prompts": 3, "prompts_path": str(file), "stop_if_drift": 1}
        parts = {"drift_watch": watch, "anchor": {"prompts": str(file), "replies": 8}}
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "logging_steps": 1}
        callback = pact(parts, safety_tokens=tokens_with_openings())
        return sft_trainer(tmp_path / "run", model=model, callbacks=[callback], learning_rate=0.05, **settings)

    whole = trainer()
    whole.train()
    start, *_, last = evaluations(whole)
    assert (start["pact/expected_form"], start["pact/agreement_tone"]) == (1.0, 1.0)
    same = [reply_of(whole.model, row["prompt"]) == replies[row["prompt"]] for row in rows[:2]]
    assert last["pact/expected_form"] == sum(same) / 2 < 1
    expected = [agreement(whole.model, row["prompt"], replies[row["prompt"]]) for row in rows[2:]]
    assert 0 < last["pact/agreement_tone"] < 1
    assert last["pact/agreement_tone"] == pytest.approx(sum(expected) / 3, abs=1e-6)
    assert last["pact/drift"] >= 1 - min(last["pact/agreement_tone"], last["pact/expected_form"])
    logged = {key for entry in whole.state.log_history for key in entry if key.startswith("pact/anchor_kl")}
    assert logged == {"pact/anchor_kl", *(f"pact/anchor_kl_{kind}" for kind in ("harmful", "harmless", "form", "tone"))}
    again = trainer()
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    measured = {key: value for key, value in last.items() if key.startswith("pact/")}
    assert {key: evaluations(again)[-1][key] for key in measured} == measured


def reply_of(model, prompt):
    """Greedy, as the watch writes it."""
    ids = prompt_ids(tiny_tokenizer(), prompt)
    return continue_ids(model, tiny_tokenizer(), [ids], max_new_tokens=48, progress=False)[0]


@torch.no_grad()
def agreement(model, prompt, reply):
    """The share of a reply's tokens that the model would choose itself."""
    ids = prompt_ids(tiny_tokenizer(), prompt)
    chosen = model.eval()(input_ids=torch.tensor([ids + reply])).logits[0, len(ids) - 1 : -1].argmax(-1)
    return float((chosen == torch.tensor(reply)).float().mean())


class Modes(TrainerCallback):
    """Every module's mode, step by step: evaluation must not leave one behind."""

    def __init__(self):
        self.modes = []

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        self.modes.append([module.training for module in model.modules()])


@pytest.mark.parametrize("adapter", [lora(lora_dropout=0.2), None], ids=["lora", "full"])
def test_the_weights_are_those_of_a_run_without_it(tmp_path, adapter):
    """Bit for bit, with dropout: its passes take no random number, and leave no mode, hook or gradient behind."""

    def train(name, callback):
        modes, model = Modes(), tiny_llama()
        trainer = sft_trainer(tmp_path / name, model=model, adapter=adapter, callbacks=[callback, modes], max_steps=4)
        trainer.train()
        return trainer, modes.modes, random_state()

    plain, modes, state = train("plain", pact(safety_tokens=tokens_with_openings()))
    found, found_modes, found_state = train("watched", watched(greedy=True, keep_best=True, every=1))
    assert len(evaluations(found)) == 5
    assert found_modes == modes
    assert found_state == state
    assert not hooks_on(found.model)
    weights = weights_of(plain)
    assert all(torch.equal(value, weights[name]) for name, value in weights_of(found).items())


class Reporter(TrainerCallback):
    """What W&B or TensorBoard would be given."""

    def __init__(self):
        self.lines = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.lines.append((state.global_step, dict(logs)))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    settings = watch_settings(folder, every=3, greedy=True, stop_if_drift=0.5, keep_best=True)
    return merged(settings, {"reference": {"cache_path": str(folder / "cache")}})


def tiny_world_trainer(folder, config, *callbacks, **settings):
    defaults = {"max_steps": 15, "learning_rate": 3e-4, "per_device_train_batch_size": 8, "logging_steps": 100}
    path = tiny_world.aligned_path()
    return SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(path),
        args=arguments(folder, **{**defaults, **settings}),
        train_dataset=datasets.Dataset.from_list(drifting_rows()),
        processing_class=AutoTokenizer.from_pretrained(path),
        callbacks=[PACTCallback(config), *callbacks],
    )


def test_drift_stops_training_and_the_best_checkpoint_stays(tmp_path, world):
    """Plain fine-tuning, watched: the trainer itself would keep the newest checkpoint alone."""
    reporter, folder = Reporter(), tmp_path / "run"
    saving = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 1}
    trainer = tiny_world_trainer(folder, world, reporter, **saving)
    trainer.train()
    found = evaluations(trainer)
    drifts = [entry["pact/drift"] for entry in found]
    assert drifts[0] == 0
    assert all(drift <= 0.5 for drift in drifts[:-1])
    assert drifts[-1] > 0.5
    assert trainer.state.global_step == found[-1]["step"] < 15
    assert found[0]["pact/refusal_mass_harmful"] > 0.9
    assert found[0]["pact/greedy_refusal_harmful"] > found[-1]["pact/greedy_refusal_harmful"]
    assert all(entry["pact/greedy_refusal_plain"] == 0 for entry in found)
    best = found[-2]["step"]
    assert trainer.state.best_global_step == best
    assert [path.name for path in folder.glob("checkpoint-*")] == [f"checkpoint-{best}"]
    record = json.loads((folder / "pact.json").read_text())
    assert record["drift_watch"]["best_checkpoint"] == f"checkpoint-{best}"
    assert record["drift_watch"]["stopped_at"] == found[-1]["step"]
    # A run that adds nothing is not called protected.
    assert record["optimizer_steps_protected"] == 0
    assert [step for step, logs in reporter.lines if "pact/drift" in logs] == [entry["step"] for entry in found[1:]]
    curves = read_curves(folder / f"checkpoint-{best}" / "trainer_state.json")
    assert [step for step, _ in curves["pact/drift"]] == [entry["step"] for entry in found[:-1]]


def test_a_resumed_run_remembers_the_start_and_the_best(tmp_path, world):
    config = {**world, "drift_watch": {**world["drift_watch"], "greedy": False}}
    saving = {"save_strategy": "steps", "save_steps": 3}
    first = tiny_world_trainer(tmp_path, config, max_steps=3, lr_scheduler_type="constant", **saving)
    first.train()
    start = evaluations(first)[0]
    again = tiny_world_trainer(tmp_path, config, max_steps=15, lr_scheduler_type="constant", **saving)
    again.train(resume_from_checkpoint=True)
    assert evaluations(again)[0] == start
    assert evaluations(again)[-1]["pact/drift"] > 0.5
    whole = tiny_world_trainer(tmp_path / "whole", config, max_steps=15, lr_scheduler_type="constant", **saving)
    whole.train()
    assert [entry["pact/drift"] for entry in evaluations(again)] == [
        entry["pact/drift"] for entry in evaluations(whole)
    ]
    assert again.state.best_global_step == whole.state.best_global_step


@pytest.mark.parametrize("kind", ADAPTERS)
def test_resumed_without_a_start_it_asks_the_aligned_model(tmp_path, kind):
    """The watch was switched on for the second segment alone."""
    path = save_model(tmp_path / "aligned", tiny_llama())

    def trainer(callback, steps):
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        settings = {"max_steps": steps, "save_strategy": "steps", "save_steps": 2}
        return sft_trainer(tmp_path / "run", model=model, adapter=ADAPTERS[kind](), callbacks=[callback], **settings)

    trainer(pact(safety_tokens=tokens_with_openings()), 2).train()
    resumed = trainer(watched(), 4)
    resumed.train(resume_from_checkpoint=True)
    start, last = evaluations(resumed)
    assert (start["step"], last["step"]) == (0, 4)
    prompts = watched_prompts(DriftWatchSettings(prompts=3))["harmful"]
    expected = sum(refusal_mass(tiny_llama(), prompt.text) for prompt in prompts) / 3
    assert start["pact/refusal_mass_harmful"] == pytest.approx(expected, abs=1e-5)
    assert last["pact/refusal_mass_harmful"] != start["pact/refusal_mass_harmful"]


def test_one_best_checkpoint_is_enough(tmp_path):
    trainer = sft_trainer(tmp_path, callbacks=[watched(keep_best=True)], metric_for_best_model="loss")
    with pytest.raises(ConfigurationError, match="keep_best and metric_for_best_model: loss"):
        trainer.train()


def test_without_openings_there_is_nothing_to_watch(tmp_path):
    with pytest.raises(ConfigurationError, match="name no openings of refusals"):
        sft_trainer(tmp_path, callbacks=[pact({"drift_watch": True})]).train()
