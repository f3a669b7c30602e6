"""Where the default preset cannot be had, a run that named none has the bare term; one that named it is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from pact_plugins import PACTCallback
from pact_plugins.batch.training_data import TrainingData
from pact_plugins.errors import ConfigurationError
from pact_plugins.training import falling_back
from tests.helpers.guarded import tokens_with_openers
from tests.helpers.tiny import tiny_safety_tokens
from tests.helpers.trainers import rows, sft_trainer

pytestmark = pytest.mark.framework

SMALL = {"anchor_size": 4, "anchor_max_new_tokens": 4}


def trained(folder, config, tokens, **settings):
    """``pact.json`` of a run with this configuration, beside the trainer's own loss where it has one."""
    trainer = sft_trainer(folder, **settings)
    outside = trainer if settings else None
    trainer.add_callback(PACTCallback(config, safety_tokens=tokens, trainer=outside))
    trainer.train()
    return json.loads((folder / "pact.json").read_text())


@pytest.mark.parametrize(
    ("tokens", "settings", "reason"),
    [
        pytest.param(tiny_safety_tokens(), {}, "need refusal openings", id="no openings"),
        pytest.param(
            tokens_with_openers(), {"label_smoothing_factor": 0.1}, "label_smoothing_factor computes", id="own loss"
        ),
    ],
)
def test_the_term_takes_its_place_and_a_line_says_so(tmp_path, caplog, tokens, settings, reason):
    with caplog.at_level("INFO", logger="pact_plugins"):
        record = trained(tmp_path, {"reference_check_every": 7}, tokens, **settings)
    said = caplog.text
    assert "this run has preset: match, the term alone, as no preset was named and gate_anchor cannot be had" in said
    assert reason in said
    config = record["config"]
    assert (config["preset"], config["kl_coef"], config["anchor"]) == ("match", 2.0, "off")
    assert config["reference_check_every"] == 7
    assert record["optimizer_steps_protected"] == 1
    assert "pact/kl" in record["last_log"]


@pytest.mark.parametrize("settings", [{}, {"label_smoothing_factor": 0.1}], ids=["no openings", "own loss"])
def test_what_was_named_is_refused(tmp_path, settings):
    with pytest.raises(ConfigurationError, match="preset: match"):
        trained(tmp_path, {"preset": "gate_anchor"}, tiny_safety_tokens(), **settings)


def test_a_watch_that_needs_openings_is_not_dropped(tmp_path):
    with pytest.raises(ConfigurationError, match="need refusal openings"):
        trained(tmp_path, {"drift_watch": {}}, tiny_safety_tokens())


def messages():
    """Rows without a mark of what is the answer."""
    return [{"messages": [*row["prompt"], *row["completion"]]} for row in rows(24)]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"packing": True, "max_length": 128, "per_device_train_batch_size": 1},
        {"padding_free": True, "max_length": None},
    ],
    ids=["padded", "packed", "padding-free"],
)
def test_rows_whose_prompts_are_trained_on_have_no_row_gate(tmp_path, settings):
    def train(folder, config):
        callback = PACTCallback({**SMALL, **config}, safety_tokens=tokens_with_openers())
        trainer = sft_trainer(folder, train_rows=messages(), callbacks=[callback], max_steps=1, **settings)
        trainer.train()
        return json.loads((folder / "pact.json").read_text())

    assert train(tmp_path / "unnamed", {})["config"]["preset"] == "match"
    with pytest.raises(ConfigurationError, match="prompts are trained on as if they were responses"):
        train(tmp_path / "named", {"preset": "gate_anchor"})


def test_rows_without_a_response_say_nothing_of_prompts(tmp_path):
    """The first four teach nothing: what is trained on is to be seen in the others."""
    silent = [{"input_ids": [7, 8, 9, 10], "labels": [-100] * 4} for _ in range(4)]
    data = TrainingData([*silent, *silent], lambda rows: {key: torch.tensor([rows[0][key]]) for key in rows[0]})
    dataloader = SimpleNamespace(dataset=data.dataset, collate_fn=data.collate)
    assert not falling_back._trains_on_prompts(dataloader)
    data.dataset[0] = {"input_ids": [7, 8, 9, 10], "labels": [7, 8, 9, 10]}
    assert falling_back._trains_on_prompts(dataloader)


def test_what_a_callback_fell_back_to_was_for_that_training(tmp_path):
    callback = PACTCallback(SMALL, safety_tokens=tokens_with_openers())
    presets = []
    for name, train_rows in (("one", messages()), ("two", rows(8)), ("three", messages())):
        trainer = sft_trainer(tmp_path / name, train_rows=train_rows, callbacks=[callback], max_steps=1)
        trainer.train()
        presets.append(json.loads((tmp_path / name / "pact.json").read_text())["config"]["preset"])
    assert presets == ["match", "gate_anchor", "match"]


def test_falling_back_is_a_warning(tmp_path, caplog):
    with caplog.at_level("WARNING", logger="pact_plugins"):
        trained(tmp_path, {}, tiny_safety_tokens())
    assert "this run has preset: match, the term alone" in caplog.text


def test_rows_that_see_one_another_have_no_row_gate_where_openings_are_long(tmp_path, monkeypatch):
    whole = TrainingData._row
    monkeypatch.setattr(TrainingData, "_row", lambda *given: replace(whole(*given), sequences=None))
    tokens = tokens_with_openers()
    settings = {**tokens.settings, "refusal_openings": [[21, 22]], "refusal_threshold": 0.5}
    record = trained(tmp_path, {}, replace(tokens, settings=settings))
    assert record["config"]["preset"] == "match"
    mixed = {**settings, "refusal_openings": [[20], [21, 22]]}
    record = trained(tmp_path / "mixed", SMALL, replace(tokens, settings=mixed))
    assert record["config"]["preset"] == "gate_anchor"
