"""The log-odds as the term of a run: its gradient beside the task's, and what happens where openings are not known."""

from __future__ import annotations

import json

import pytest

from pact_plugins import PACTCallback
from pact_plugins.errors import ConfigurationError
from tests.helpers.guarded import tokens_with_openings
from tests.helpers.tiny import tiny_safety_tokens
from tests.helpers.trainers import sft_trainer

pytestmark = pytest.mark.framework

TERM = {"preset": "off", "term": {"objective": "log_odds"}}


def trained(folder, config, tokens):
    trainer = sft_trainer(folder, logging_steps=1)
    trainer.add_callback(PACTCallback(config, safety_tokens=tokens))
    trainer.train()
    return json.loads((folder / "pact.json").read_text())


def test_a_run_holds_them_and_logs_their_gradient(tmp_path):
    record = trained(
        tmp_path, {"preset": "off", "term": {**TERM["term"], "log_gradients": True}}, tokens_with_openings()
    )
    assert record["optimizer_steps_protected"] == 1
    assert {"pact/kl", "pact/term_share", "pact/term_angle"} <= record["last_log"].keys()
    assert "pact/term_share" not in trained(tmp_path / "quiet", TERM, tokens_with_openings())["last_log"]


def test_they_need_tokens_that_open_refusals(tmp_path):
    with pytest.raises(ConfigurationError, match="log_odds needs tokens that open a refusal"):
        trained(tmp_path, TERM, tiny_safety_tokens())
