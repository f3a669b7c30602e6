"""What is deployed is what is measured: a GGUF file and a merged adapter give the figures of what they were made of."""

from __future__ import annotations

import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from pact_evals.runs.evaluating import EvaluationSettings, evaluate_models
from pact_evals.runs.models import read_specs
from pact_lab import tiny_world
from pact_plugins.errors import ConfigurationError
from tests.helpers.gguf_files import write_gguf

TASKS = ("pact_tiny_harmful", "pact_tiny_benign", "pact_tiny_harmful_sampled")
SETTINGS = EvaluationSettings(TASKS, device="cpu", limit=5, batch_size=4)


def evaluated(run, *models, **options):
    outcomes = evaluate_models(read_specs([str(model) for model in models], **options), run, SETTINGS)
    assert [outcome.error for outcome in outcomes] == [None] * len(outcomes)
    return [outcome.result.tasks for outcome in outcomes]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """An adapter that changes answers, and the same merged."""
    folder = tmp_path_factory.mktemp("tuned")
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(tiny_world.aligned_path())
    lora = LoraConfig(r=4, init_lora_weights=False, target_modules=["q_proj", "v_proj", "up_proj"])
    get_peft_model(base, lora).save_pretrained(folder / "adapter")
    again = AutoModelForCausalLM.from_pretrained(tiny_world.aligned_path())
    merged = PeftModel.from_pretrained(again, folder / "adapter").merge_and_unload()
    merged.save_pretrained(folder / "merged")
    AutoTokenizer.from_pretrained(tiny_world.aligned_path()).save_pretrained(folder / "merged")
    return folder


def test_adapter_merged_and_gguf_are_one_model(tuned, tmp_path):
    file = write_gguf(tuned / "merged", tmp_path / "gguf" / "tuned-f32.gguf")
    aligned, adapter, merged, from_file = evaluated(
        tmp_path / "run",
        f"aligned={tiny_world.aligned_path()}",
        f"adapter={tuned / 'adapter'}",
        f"merged={tuned / 'merged'}",
        file,
    )
    assert adapter == merged == from_file
    assert any(sample.response for task in from_file.values() for sample in task.samples)
    assert aligned != merged


def test_a_gguf_file_is_named_by_its_file_and_known_by_it(tuned, tmp_path):
    file = write_gguf(tuned / "merged", tmp_path / "tuned-f32.gguf")
    (spec,) = read_specs([str(file)])
    assert (spec.label, spec.model, spec.arguments["gguf_file"]) == ("tuned-f32.gguf", str(tmp_path), file.name)
    before = spec.identity()
    shutil.copyfile(file, tmp_path / "another.gguf")
    assert spec.identity() == before
    assert read_specs([str(tmp_path / "another.gguf")])[0].identity()["weights"] != before["weights"]
    with pytest.raises(ConfigurationError, match="is read by the backend hf, or by a server"):
        read_specs([str(file)], backend="vllm")


def test_a_gguf_file_without_a_chat_template_is_refused(tuned, tmp_path):
    bare = shutil.copytree(tuned / "merged", tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    tokenizer = AutoTokenizer.from_pretrained(bare)
    tokenizer.chat_template = ""
    tokenizer.save_pretrained(bare)
    file = write_gguf(bare, tmp_path / "bare.gguf")
    with pytest.raises(ConfigurationError, match="has no chat template"):
        evaluate_models(read_specs([str(file)]), tmp_path / "run", SETTINGS)
