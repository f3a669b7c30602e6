"""Where the default preset cannot be had, a run that named none has the bare term; one that named it is refused."""

from __future__ import annotations

import json

import pytest

from pact_plugins import PACTCallback
from pact_plugins.errors import ConfigurationError
from tests.helpers.guarded import tokens_with_openers
from tests.helpers.tiny import tiny_safety_tokens
from tests.helpers.trainers import sft_trainer

pytestmark = pytest.mark.framework


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
