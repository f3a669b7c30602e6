"""Evaluating into a run folder: what is there stays, what changed runs again, one model's failure is its own."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from pact_evals.harness.evaluate import evaluate_model
from pact_evals.harness.listing import UnknownTaskError
from pact_evals.runs.evaluating import EvaluationSettings, evaluate_models
from pact_evals.runs.models import read_specs
from pact_evals.runs.store import RunError, load_run
from pact_plugins.errors import ConfigurationError

SETTINGS = EvaluationSettings(("pact_refusal_margin",), device="cpu", limit=2)


def specs(*models, adapters=()):
    return read_specs([str(model) for model in models], adapters)


@pytest.fixture
def calls(monkeypatch):
    """The tasks of every call of lm-eval."""
    from pact_evals.runs import evaluating

    asked = []
    original = evaluating.evaluate_checkpoint

    def evaluate(backend, model_args, tasks, **settings):
        asked.append((model_args["pretrained"], list(tasks)))
        return original(backend, model_args, tasks, **settings)

    monkeypatch.setattr(evaluating, "evaluate_checkpoint", evaluate)
    return asked


def test_stored_tasks_are_kept_and_changes_run_again(model_path, tmp_path, calls):
    run, model = tmp_path / "run", tmp_path / "model"
    shutil.copytree(model_path, model)
    reported = []
    (first,) = evaluate_models(specs(model), run, SETTINGS, report=reported.append)
    assert reported == [first]
    assert not first.resumed
    assert [first.result] == load_run(run)
    assert first.result.tasks["pact_refusal_margin"].judge is None
    (file,) = (run / "model").glob("results_*.json")
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert stored["versions"] == {"pact_refusal_margin": 1}
    assert stored["config"]["model_args"] == {"pretrained": str(model)}
    assert stored["lm_eval_version"] == first.result.identity["lm_eval"]

    (again,) = evaluate_models(specs(f"model={model}/."), run, replace(SETTINGS, device=None))
    assert again.resumed
    assert again.result == first.result
    assert len(calls) == 1

    both = replace(SETTINGS, tasks=("pact_refusal_margin", "pact_tiny_task"))
    (more,) = evaluate_models(specs(model), run, both)
    assert calls[1:] == [(str(model), ["pact_tiny_task"])]
    assert set(more.result.tasks) == {"pact_refusal_margin", "pact_tiny_task"}

    evaluate_models(specs(model), run, replace(SETTINGS, batch_size=1))
    (model / "config.json").touch()
    evaluate_models(specs(model), run, replace(SETTINGS, batch_size=1))
    assert [tasks for _, tasks in calls[2:]] == [["pact_refusal_margin"]] * 2
    assert len(list((run / "model" / "cache").glob("*.db"))) == 1


def test_an_interrupted_model_goes_on_from_its_answers(model_path, tmp_path, monkeypatch):
    from lm_eval.models.huggingface import HFLM

    settings = EvaluationSettings(("pact_refusal",), device="cpu", limit=4, batch_size=1, max_new_tokens=4)
    (whole,) = evaluate_models(specs(model_path), tmp_path / "whole", settings)
    generate, answered = HFLM._model_generate, []

    def counted(self, *arguments, **options):
        if len(answered) == 3:
            raise KeyboardInterrupt
        answered.append(1)
        return generate(self, *arguments, **options)

    monkeypatch.setattr(HFLM, "_model_generate", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_models(specs(model_path), tmp_path / "run", settings)
    assert not list((tmp_path / "run").rglob("*.json"))
    answered.clear()
    (resumed,) = evaluate_models(specs(model_path), tmp_path / "run", settings)
    assert len(answered) == 1
    assert resumed.result.tasks == whole.result.tasks


def test_a_failing_model_is_one_line_and_keeps_its_earlier_results(model_path, tmp_path):
    model, run = tmp_path / "broken", tmp_path / "run"
    shutil.copytree(model_path, model)
    evaluate_models(specs(model), run, SETTINGS)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    broken, missing, good = evaluate_models(specs(model, "org/nowhere", f"good={model_path}"), run, SETTINGS)
    assert broken.result is None
    assert "Error: " in broken.error
    assert missing.error.startswith("org/nowhere cannot be loaded: no such folder; from the hub: ")
    assert "\n" not in broken.error + missing.error
    assert good.error is None
    assert [stored.label for stored in load_run(run)] == ["broken", "good"]


def test_an_adapter_is_evaluated_on_its_base(model_path, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    lora, settings = tmp_path / "lora", replace(SETTINGS, tasks=("pact_refusal_margin", "pact_tiny_harmful_sampled"))
    adapter = LoraConfig(r=2, init_lora_weights=False, target_modules=["q_proj", "v_proj"])
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(model_path), adapter)
    tuned.save_pretrained(lora)
    in_memory = evaluate_model(
        tuned, AutoTokenizer.from_pretrained(model_path), settings.tasks, batch_size=16, limit=settings.limit
    )
    base, adapted = evaluate_models(specs(model_path, lora), tmp_path / "run", settings)
    _, beside = evaluate_models(specs(model_path, adapters=(str(lora),)), tmp_path / "beside", settings)
    for name, metrics in in_memory.metrics.items():
        assert adapted.result.tasks[name].metrics == beside.result.tasks[name].metrics == metrics
        assert adapted.result.tasks[name].samples == in_memory.samples[name]
    margins = [outcome.result.tasks["pact_refusal_margin"].metrics["margin"].value for outcome in (base, adapted)]
    assert margins[0] != margins[1]
    assert adapted.result.identity["adapter"] == str(lora)


def test_damaged_results_are_replaced(model_path, tmp_path, caplog):
    evaluate_models(specs(f"m={model_path}"), tmp_path, SETTINGS)
    (file,) = (tmp_path / "m").glob("results_*.json")
    file.write_text("{")
    (outcome,) = evaluate_models(specs(f"m={model_path}"), tmp_path, SETTINGS)
    assert not outcome.resumed
    assert load_run(tmp_path) == [outcome.result]
    assert "evaluating m again" in caplog.text


def test_what_cannot_start_writes_nothing(model_path, untemplated_model_path, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(UnknownTaskError, match="no task 'pact_x'"):
        evaluate_models(specs(model_path), run, replace(SETTINGS, tasks=("pact_x",)))
    with pytest.raises(ConfigurationError, match="no chat template"):
        evaluate_models(specs(model_path, untemplated_model_path), run, SETTINGS)
    assert not run.exists()
    run.touch()
    with pytest.raises(RunError, match="is a file"):
        evaluate_models(specs(model_path), run, SETTINGS)
