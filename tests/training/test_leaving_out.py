"""A part that cannot be had is left out by name where a preset alone has set it; one that was written is an error."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pact_plugins import PACTCallback
from pact_plugins.batch.training_data import TrainingData
from pact_plugins.errors import ConfigurationError
from pact_plugins.settings import merged
from tests.helpers.guarded import tokens_with_openings
from tests.helpers.tiny import tiny_safety_tokens
from tests.helpers.trainers import rows, sft_trainer

pytestmark = pytest.mark.framework

SMALL = {"anchor": {"replies": 4, "max_new_tokens": 4}}
OWN_LOSS = {"label_smoothing_factor": 0.1}


def trained(folder, config, tokens, **settings):
    """``pact.json`` of a run with this configuration, beside the trainer's own loss where it has one."""
    trainer = sft_trainer(folder, **settings)
    outside = trainer if "label_smoothing_factor" in settings else None
    callback = PACTCallback(merged(SMALL, config), safety_tokens=tokens, trainer=outside)
    trainer.add_callback(callback)
    trainer.train()
    return json.loads((folder / "pact.json").read_text())


CANNOT_BE_HAD = [
    pytest.param(tiny_safety_tokens(), {}, "name no openings of refusals", id="no openings"),
    pytest.param(tokens_with_openings(), OWN_LOSS, "label_smoothing_factor computes a loss of its own", id="own loss"),
]


@pytest.mark.parametrize("preset", [{}, {"preset": "gate_anchor"}], ids=["default", "without the term"])
@pytest.mark.parametrize(("tokens", "settings", "reason"), CANNOT_BE_HAD)
def test_the_rest_of_the_preset_stays_and_a_warning_says_so(tmp_path, caplog, tokens, settings, reason, preset):
    name = preset.get("preset", "pact")
    # The term can hold what a loss of its own learns.
    left = {"row_gate"} if name == "gate_anchor" or settings is OWN_LOSS else {"row_gate", "term"}
    with caplog.at_level("WARNING", logger="pact_plugins"):
        record = trained(tmp_path, preset, tokens, **settings)
    assert f"row_gate is left out of preset: {name}, as it cannot be had" in caplog.text
    assert record["left_out"].keys() == left
    assert reason in record["left_out"]["row_gate"]
    assert record["optimizer_steps_protected"] == 1
    assert "pact/anchor_kl" in record["last_log"]
    assert "pact/gated_rows" not in record["last_log"]


@pytest.mark.parametrize(("tokens", "settings", "reason"), CANNOT_BE_HAD)
def test_what_was_written_is_an_error(tmp_path, tokens, settings, reason):
    with pytest.raises(ConfigurationError, match=f"row_gate: .*{reason}"):
        trained(tmp_path, {"row_gate": True}, tokens, **settings)


def test_where_nothing_of_the_preset_is_left_training_stops(tmp_path):
    with pytest.raises(ConfigurationError, match="nothing of preset: pact can be had"):
        trained(tmp_path, {"anchor": False}, tiny_safety_tokens())


def test_nothing_is_left_out_of_an_ordinary_run(tmp_path):
    assert trained(tmp_path, {}, tokens_with_openings())["left_out"] == {}


def test_a_watch_that_needs_openings_is_not_dropped(tmp_path):
    with pytest.raises(ConfigurationError, match=r"drift_watch: .*name no openings"):
        trained(tmp_path, {"row_gate": False, "drift_watch": True}, tiny_safety_tokens())


def test_one_callback_leaves_out_anew_for_each_training(tmp_path):
    callback = PACTCallback(SMALL, safety_tokens=tokens_with_openings())
    texts = [{"text": row["completion"][0]["content"]} for row in rows(24)]
    left_out = []
    for name, train_rows in (("one", texts), ("two", rows(8)), ("three", texts)):
        trainer = sft_trainer(tmp_path / name, train_rows=train_rows, callbacks=[callback], max_steps=1)
        trainer.train()
        left_out.append(list(json.loads((tmp_path / name / "pact.json").read_text())["left_out"]))
    assert left_out == [["term", "row_gate"], [], ["term", "row_gate"]]


def test_rows_that_see_one_another_have_no_row_gate_where_openings_are_long(tmp_path, monkeypatch):
    whole = TrainingData._row
    monkeypatch.setattr(TrainingData, "_row", lambda *given: replace(whole(*given), sequences=None))
    tokens = tokens_with_openings()
    settings = {**tokens.settings, "refusal_openings": [[21, 22]], "refusal_threshold": 0.5}
    record = trained(tmp_path, {}, replace(tokens, settings=settings))
    assert "no refusal opening has one token" in record["left_out"]["row_gate"]
    mixed = {**settings, "refusal_openings": [[20], [21, 22]]}
    record = trained(tmp_path / "mixed", {}, replace(tokens, settings=mixed))
    assert record["left_out"] == {}
