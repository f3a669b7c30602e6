"""Without a file of safety tokens: calibrated once, found again by content, never for another model."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model

from pact_plugins import PACTConfig, SafetyTokens
from pact_plugins.files import cache_folder
from pact_plugins.safety_tokens import automatic
from pact_plugins.safety_tokens.automatic import automatic_safety_tokens
from pact_plugins.settings import merged
from tests.helpers.tiny import REFUSAL_ROWS, tiny_llama, tiny_tokenizer, write_refusals
from tests.helpers.trainers import lora


@pytest.fixture
def config(refusals_path):
    return PACTConfig(safety_tokens={"refusals_path": str(refusals_path), "top_k": 20})


@pytest.fixture
def calibrations(monkeypatch):
    """How often calibration really ran."""
    calls = []
    real = automatic.calibrate
    monkeypatch.setattr(automatic, "calibrate", lambda *args, **kwargs: calls.append(1) or real(*args, **kwargs))
    return calls


def find(model, tokenizer, config):
    return automatic_safety_tokens(model, tokenizer, config.recipe(), config.reference.cache_path, progress=False)


def altered(config, change):
    return PACTConfig(**merged({"safety_tokens": config.safety_tokens.model_dump()}, change))


def test_the_second_time_nothing_is_calibrated(tokenizer, config, calibrations, private_cache):
    first, path = find(tiny_llama(), tokenizer, config)
    assert path.is_relative_to(private_cache)
    second, same_path = find(tiny_llama(), tokenizer, config)
    assert calibrations == [1]
    assert path == same_path
    assert second.fingerprint == first.fingerprint == SafetyTokens.load(path).fingerprint


def test_what_another_run_calibrated_is_recorded_as_of_this_ones_places(tmp_path, tokenizer, config, refusals_path):
    theirs, ours = tiny_llama(), tiny_llama()
    theirs.config._name_or_path, ours.config._name_or_path = "/theirs/model", "/ours/model"
    first, path = find(theirs, tokenizer, config)
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(refusals_path.read_bytes())
    second, same_path = find(ours, tokenizer, altered(config, {"safety_tokens": {"refusals_path": str(copy)}}))
    assert same_path == path
    assert first.settings["model"] == "/theirs/model"
    assert (second.settings["model"], second.settings["refusals_from"]) == ("/ours/model", str(copy))
    changed = ("model", "refusals_from")
    assert {key: value for key, value in second.settings.items() if key not in changed} == {
        key: value for key, value in first.settings.items() if key not in changed
    }
    assert second.fingerprint == first.fingerprint


def test_an_adapter_in_training_does_not_matter(tokenizer, config, calibrations):
    _, path = find(tiny_llama(), tokenizer, config)
    model = get_peft_model(tiny_llama(), lora())
    assert find(model.get_base_model(), tokenizer, config)[1] == path
    assert calibrations == [1]


def test_whatever_changes_the_result_has_its_own_file(tmp_path, tokenizer, config, calibrations):
    paths = [find(tiny_llama(), tokenizer, config)[1]]
    moved = tiny_llama()
    with torch.no_grad():
        moved.model.layers[0].mlp.up_proj.weight.mul_(1.001)
    paths.append(find(tiny_llama(1), tokenizer, config)[1])
    paths.append(find(moved, tokenizer, config)[1])
    for change in (
        {"safety_tokens": {"top_k": 21}},
        {"safety_tokens": {"scorer": "pref_logratio"}},
        {"safety_tokens": {"exclude_special_tokens": False}},
        {"safety_tokens": {"max_refusals": 5}},
        {"safety_tokens": {"max_response_tokens": 3}},
        {"reference": {"assistant_header": "<|system|>"}},
        {"safety_tokens": {"refusals_path": str(write_refusals(tmp_path / "fewer.jsonl", REFUSAL_ROWS[:9]))}},
    ):
        paths.append(find(tiny_llama(), tokenizer, altered(config, change))[1])
    other_template = tiny_tokenizer(tokenizer.chat_template + " ")
    paths.append(find(tiny_llama(), other_template, config)[1])
    assert len(set(paths)) == len(paths) == len(calibrations) == 11


def test_what_does_not_change_the_result_shares_it(tokenizer, config, calibrations):
    _, path = find(tiny_llama(), tokenizer, config)
    for change in (
        {"preset": "match", "term": {"weight": 7.0}},
        {"term": {"temperature": 1.0}},
        {"safety_tokens": {"batch_size": 2}},
        {"reference": {"kind": "frozen_copy"}},
    ):
        assert find(tiny_llama(), tokenizer, altered(config, change))[1] == path
    assert calibrations == [1]


def test_an_edited_refusals_file_is_another_one(tokenizer, config, refusals_path, calibrations):
    _, path = find(tiny_llama(), tokenizer, config)
    write_refusals(refusals_path, REFUSAL_ROWS[:9])
    assert find(tiny_llama(), tokenizer, config)[1] != path


def test_a_damaged_cache_file_is_replaced(tokenizer, config, calibrations, caplog):
    first, path = find(tiny_llama(), tokenizer, config)
    path.write_bytes(b"damaged")
    second, _ = find(tiny_llama(), tokenizer, config)
    assert calibrations == [1, 1]
    assert SafetyTokens.load(path).fingerprint == second.fingerprint == first.fingerprint


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("PACT_CACHE_PATH", str(tmp_path / "environment"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder(str(tmp_path / "own")) == tmp_path / "own"
    assert cache_folder(None) == tmp_path / "environment"
    monkeypatch.delenv("PACT_CACHE_PATH")
    assert cache_folder(None) == tmp_path / "xdg" / "pact"


def test_a_cache_that_cannot_be_written_costs_nothing_but_the_next_time(
    tmp_path, tokenizer, config, calibrations, caplog
):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    settings = altered(config, {"reference": {"cache_path": str(blocked)}})
    tokens, _ = find(tiny_llama(), tokenizer, settings)
    assert len(tokens) == 20
    assert calibrations == [1]
