"""A model in memory and the same checkpoint give the same numbers; nothing around the evaluation changes."""

from __future__ import annotations

import logging
import random

import pytest
import torch

from pact_evals.harness.evaluate import EvaluationError, evaluate_checkpoint, evaluate_model
from pact_lab.tiny_world.harness import tiny_summary


@pytest.fixture(scope="module")
def tiny():
    """The aligned model of the toy benchmark and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pact_lab.tiny_world import aligned_path

    return AutoModelForCausalLM.from_pretrained(aligned_path()), AutoTokenizer.from_pretrained(aligned_path())


SETTINGS = {"prompts": 40, "seed": 5}


def test_memory_checkpoint_and_the_worlds_own_evaluation_agree(tiny):
    from pact_lab.tiny_world import aligned_path, evaluate

    model, tokenizer = tiny
    in_memory = evaluate_model(model, tokenizer, ["pact_tiny"], task_settings=SETTINGS)
    from_disk = evaluate_checkpoint(
        "hf", {"pretrained": str(aligned_path())}, ["pact_tiny"], batch_size=32, device="cpu", task_settings=SETTINGS
    )
    assert in_memory.metrics == from_disk.metrics
    assert in_memory.samples == from_disk.samples
    summary, expected = tiny_summary(in_memory), evaluate(model, tokenizer, **SETTINGS)
    for name in ("harmful", "benign", "task_accuracy"):
        assert summary[name] == pytest.approx(expected[name])
    assert set(summary["harmful_sampled"]) == {"refuse", "comply", "other"}


def test_training_around_an_evaluation_does_not_notice(tiny):
    model, tokenizer = tiny
    model.train()
    torch.manual_seed(3)
    random.seed(3)
    expected = (torch.rand(2).tolist(), random.random())
    torch.manual_seed(3)
    random.seed(3)
    evaluate_model(model, tokenizer, ["pact_tiny_harmful_sampled"], task_settings={"prompts": 4})
    assert (torch.rand(2).tolist(), random.random()) == expected
    assert all(module.training for module in model.modules())
    model.eval()


def test_missing_chat_template_warns(model_path, caplog):
    with caplog.at_level(logging.WARNING):
        evaluate_checkpoint(
            "hf", {"pretrained": str(model_path)}, ["pact_refusal"], apply_chat_template=False, limit=1, device="cpu"
        )
    assert any("no chat template is applied" in record.getMessage() for record in caplog.records)


def test_a_backend_that_fails_is_one_line():
    with pytest.raises(EvaluationError, match="nowhere") as caught:
        evaluate_checkpoint("hf", {"pretrained": "/nowhere/model"}, ["pact_refusal"], limit=1, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_model_that_returns_nothing_neither_refuses_nor_complies():
    from lm_eval.api.model import LM

    from pact_evals.harness.evaluate import _run

    class Silent(LM):
        tokenizer_name = "silent"

        def generate_until(self, requests):
            return ["" for _ in requests]

        def loglikelihood(self, requests):
            return [(0.0, False) for _ in requests]

        def loglikelihood_rolling(self, requests):
            return [0.0 for _ in requests]

        def apply_chat_template(self, chat_history, add_generation_prompt=True):
            return chat_history[-1]["content"]

    evaluation = _run(
        model=Silent(), model_args=None, tasks=["pact_refusal"], task_settings=None, apply_chat_template=True, limit=5
    )
    assert evaluation.value("pact_refusal", "empty") == 1.0
    assert evaluation.value("pact_refusal", "refusal") == 0.0
    assert evaluation.value("pact_refusal", "compliance") == 0.0


def test_tasks_of_others_keep_their_filters_apart():
    from pact_evals.harness.evaluate import _read_results

    row = {"doc_id": 0, "doc": {"question": "1 + 1?"}, "metrics": ["exact_match"], "exact_match": 1.0}
    evaluation = _read_results(
        {
            "results": {
                "gsm8k": {
                    "alias": "gsm8k",
                    "exact_match,strict": 0.0,
                    "exact_match_stderr,strict": "N/A",
                    "exact_match,flexible": 1.0,
                    "exact_match_stderr,flexible": 0.1,
                }
            },
            "higher_is_better": {"gsm8k": {"exact_match": True}},
            "samples": {
                "gsm8k": [
                    {**row, "filter": "strict", "filtered_resps": ["[invalid]"], "exact_match": 0.0},
                    {**row, "filter": "flexible", "filtered_resps": ["2"]},
                ]
            },
            "versions": {"gsm8k": 3},
            "configs": {"gsm8k": {}},
        }
    )
    metrics = {name: (metric.value, metric.stderr) for name, metric in evaluation.metrics["gsm8k"].items()}
    assert metrics == {"exact_match,strict": (0.0, None), "exact_match,flexible": (1.0, 0.1)}
    (sample,) = evaluation.samples["gsm8k"]
    assert sample.id == "gsm8k-0"
    assert sample.metrics == {"exact_match,strict": 0.0, "exact_match,flexible": 1.0}
