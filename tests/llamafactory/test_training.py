"""Runs of LLaMA-Factory in this process: methods, data formats, references, and what a run leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from pact_lab import tiny_world
from pact_plugins.errors import ConfigurationError
from pact_plugins.verification import verify
from tests.helpers import matrix
from tests.llamafactory import runs

pytestmark = pytest.mark.framework


def _labels(run: runs.Run) -> int:
    return sum(int((batch["labels"] != -100).sum()) for batch in run.recorder.batches)


def test_without_a_coefficient_it_is_plain_sft_bit_for_bit(settings: dict[str, Any], tmp_path: Path) -> None:
    random = {"lora_dropout": 0.1, "neftune_noise_alpha": 5.0, "max_steps": 3}
    off = runs.train(settings, **random, pact={**settings["pact"], "preset": "off"}, output_dir=str(tmp_path / "off"))
    plain = runs.train(settings, **random, stage="sft", pact=None, output_dir=str(tmp_path / "plain"))
    assert off.logged("loss") == plain.logged("loss")
    ours, theirs = (load_file(run.folder / "adapter_model.safetensors") for run in (off, plain))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert off.record is None


METHODS: dict[str, tuple[dict[str, Any], str]] = {
    "lora": ({}, "adapter_off"),
    "full": ({"finetuning_type": "full"}, "frozen_copy"),
    "freeze": ({"finetuning_type": "freeze", "freeze_trainable_layers": 1}, "frozen_copy"),
    "dora": ({"use_dora": True}, "adapter_off"),
    "packing": ({"packing": True, "per_device_train_batch_size": 2}, "adapter_off"),
    "neat_packing": ({"neat_packing": True, "packing": True, "per_device_train_batch_size": 2}, "adapter_off"),
    "neat_packing_full": (
        {"neat_packing": True, "packing": True, "finetuning_type": "full", "per_device_train_batch_size": 1},
        "frozen_copy",
    ),
    "packing_full": ({"packing": True, "finetuning_type": "full", "per_device_train_batch_size": 1}, "frozen_copy"),
    "modules_to_save": ({"additional_target": "embed_tokens,lm_head"}, "adapter_off"),
    "sharegpt": ({"dataset": "chats"}, "adapter_off"),
    "bf16": ({"bf16": True}, "adapter_off"),
    "bf16_full": ({"bf16": True, "finetuning_type": "full"}, "frozen_copy"),
    "without_checkpointing": ({"disable_gradient_checkpointing": True}, "adapter_off"),
}


@pytest.mark.parametrize("method", matrix.rows(METHODS, always=("full", "neat_packing", "sharegpt")))
def test_methods_and_data(settings: dict[str, Any], method: str) -> None:
    """No drift, no divergence; a receipt for every micro-batch; every response token counted."""
    changes, reference = METHODS[method]
    run = runs.train(settings, **changes)
    divergence = run.logged("pact/kl")
    assert len(divergence) == 2
    assert divergence[0] < 1e-7
    assert divergence[1] > 1e-7
    assert run.record is not None
    assert run.record["reference"] == reference
    assert run.record["optimizer_steps_protected"] == run.record["gradient_receipts"] == 2
    assert run.record["response_tokens"] == _labels(run)


def test_packed_batches_are_what_the_notes_say(settings: dict[str, Any]) -> None:
    """Plain packing: a mask of ones, padding included. Neat packing: one block a sequence, in four dimensions."""
    plain = runs.train(settings, packing=True, per_device_train_batch_size=1, max_steps=1).recorder.batches[0]
    assert bool((plain["attention_mask"] == 1).all())
    assert int((plain["position_ids"] == 0).sum()) > 1
    other = {"neat_packing": True, "output_dir": settings["output_dir"] + "_neat"}
    neat = runs.train(settings, packing=True, per_device_train_batch_size=1, max_steps=1, **other)
    assert neat.recorder.batches[0]["attention_mask"].dim() == 4


def test_several_turns_are_several_responses(settings: dict[str, Any]) -> None:
    from pact_plugins.batch.responses import find_responses

    run = runs.train(settings, dataset="chats", max_steps=1)
    batch = run.recorder.batches[0]
    assert int(find_responses(batch["labels"]).response_index.max()) + 1 == 3 * len(batch["labels"])


def test_published_objective(settings: dict[str, Any], world: Path) -> None:
    block = {
        "preset": "match",
        "term": {"objective": "published"},
        "safety_tokens": {"refusals_path": str(world / "data/refusals.json")},
        "reference": {"cache_path": str(world)},
    }
    run = runs.train(settings, pact=block)
    assert run.record is not None
    assert run.record["safety_tokens"]["settings"]["refusals"] == 24
    assert (run.folder / "pact_safety_tokens.safetensors").is_file()
    assert run.logged("pact/mixture")


def test_evaluation_is_the_plain_one(settings: dict[str, Any], tmp_path: Path) -> None:
    evaluation = {"val_size": 8, "eval_strategy": "steps", "eval_steps": 1, "eval_on_start": True, "do_eval": True}
    ours = runs.train(settings, **evaluation, max_steps=1)
    plain = runs.train(settings, **evaluation, max_steps=1, stage="sft", pact=None, output_dir=str(tmp_path / "plain"))
    assert ours.logged("eval_loss")[0] == plain.logged("eval_loss")[0]
    assert ours.record is not None
    assert ours.record["gradient_receipts"] == 1


def test_pissa_needs_an_explicit_reference(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"pissa.*set reference.path"):
        runs.train(settings, pissa_init=True)
    block = {**settings["pact"], "reference": {"path": str(tiny_world.aligned_path())}}
    run = runs.train(settings, pissa_init=True, pact=block)
    assert run.logged("pact/kl")[0] < 1e-5
    assert run.record is not None
    assert run.record["reference"] == "frozen_copy"


def test_an_adapter_that_is_continued_needs_an_explicit_reference(settings: dict[str, Any], tmp_path: Path) -> None:
    first = runs.train(settings, max_steps=3, learning_rate=1.0e-2)
    again = {"adapter_name_or_path": str(first.folder), "output_dir": str(tmp_path / "again")}
    with pytest.raises(ConfigurationError, match=r"needs a fresh adapter.*reference.path"):
        runs.train(settings, **again)
    block = {**settings["pact"], "reference": {"path": str(tiny_world.aligned_path())}}
    continued = runs.train(settings, **again, pact=block)
    assert continued.logged("pact/kl")[0] > 1e-4
    again["output_dir"] = str(tmp_path / "fresh")
    fresh = runs.train(settings, **again, create_new_adapter=True)
    assert fresh.logged("pact/kl")[0] < 1e-7


def test_a_resumed_run_is_held_to_the_model_that_it_began_with(settings: dict[str, Any]) -> None:
    """LLaMA-Factory resumes by itself from the last checkpoint that it finds in output_dir."""
    saving = {"finetuning_type": "full", "save_strategy": "steps", "save_steps": 1, "learning_rate": 1.0e-3}
    runs.train(settings, **saving)
    resumed = runs.train(settings, **saving, max_steps=3)
    assert len(resumed.recorder.batches) == 1
    assert resumed.logged("pact/kl")[0] > 1e-6
    spans = [(one["first_step"], one["last_step"]) for one in resumed.record["segments"]]
    assert spans == [(1, 2), (3, 3)]
    assert verify(Path(settings["output_dir"])).problems == []


def test_the_callers_list_of_callbacks_stays_as_it_was(settings: dict[str, Any]) -> None:
    from llamafactory.train import tuner

    from pact_llamafactory.activation import install

    install(tuner)
    callbacks: list[TrainerCallback] = [runs.Recorder()]
    tuner.run_exp(args={**settings, "max_steps": 1}, callbacks=callbacks)
    assert len(callbacks) == 1


def test_a_beginning_token_that_only_the_template_knows_is_repeated(settings: dict[str, Any], tmp_path: Path) -> None:
    """LLaMA-Factory's parser of chat templates takes its prefix from the tokenizer; PACT trains on what it makes."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_world.aligned_path())
    tokenizer.chat_template = "<|system|>" + tokenizer.chat_template
    tokenizer.save_pretrained(tmp_path / "model")
    AutoModelForCausalLM.from_pretrained(tiny_world.aligned_path()).save_pretrained(tmp_path / "model")
    run = runs.train(settings, model_name_or_path=str(tmp_path / "model"), dataset="chats", max_steps=1)
    begin = tokenizer.convert_tokens_to_ids("<|system|>")
    row = run.recorder.batches[0]["input_ids"][0]
    assert int((row == begin).sum()) == 3
    assert run.record is not None
    assert run.record["optimizer_steps_protected"] == 1
