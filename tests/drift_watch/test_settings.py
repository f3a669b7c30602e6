"""The ``drift_watch:`` block: defaults, bounds, errors that name the key; and the prompts that it names."""

from __future__ import annotations

import json

import pytest

from pact_plugins.anchor.prompts import anchor_prompts
from pact_plugins.anchor.settings import AnchorSettings
from pact_plugins.config import PACTConfig
from pact_plugins.drift_watch import DriftWatchSettings
from pact_plugins.drift_watch.prompts import watched_prompts
from pact_plugins.drift_watch.watch import drift_between
from pact_plugins.errors import ConfigurationError
from pact_plugins.prompts import harmful_prompts, harmless_prompts, plain_prompts


def test_nothing_is_watched_unless_asked():
    assert PACTConfig().drift_watch is False
    assert PACTConfig.from_mapping({"drift_watch": False}).drift_watch is False
    assert PACTConfig.from_mapping({"preset": "off"}).is_off
    for asked in ({}, True):
        config = PACTConfig.from_mapping({"preset": "off", "drift_watch": asked})
        assert config.drift_watch == DriftWatchSettings()
        assert not config.is_off
        assert PACTConfig.from_mapping(config.model_dump()) == config


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"evry": 5}, r"pact\.drift_watch\.evry: unknown key; did you mean 'every'\?"),
        ({"every": 0}, r"pact\.drift_watch\.every: .*greater than or equal to 1 \(found 0\)"),
        ({"every": True}, r"pact\.drift_watch: every: expected a number, found True"),
        ({"stop_if_drift": 0}, r"pact\.drift_watch\.stop_if_drift: .*greater than 0"),
        ({"stop_if_drift": 20}, r"pact\.drift_watch\.stop_if_drift: .*less than or equal to 1 \(found 20\)"),
        ({"keep_best": "perhaps"}, r"pact\.drift_watch\.keep_best: .*\(found 'perhaps'\)"),
        (5, r"pact\.drift_watch: "),
    ],
)
def test_errors_name_the_key(block, message):
    with pytest.raises(ConfigurationError, match=message):
        PACTConfig.from_mapping({"drift_watch": block})


def test_bundled_prompts_are_those_that_nothing_is_evaluated_on():
    found = watched_prompts(DriftWatchSettings(prompts=12))
    bundled = {"harmful": harmful_prompts, "lookalike": harmless_prompts, "plain": plain_prompts}
    assert found.keys() == bundled.keys()
    for kind, asked in found.items():
        prompts = [prompt.text for prompt in asked]
        assert len(set(prompts)) == 12
        assert set(prompts) <= {item.prompt for item in bundled[kind]("calibration")}
        assert not set(prompts) & {item.prompt for item in bundled[kind]("evaluation")}


def test_what_the_anchor_holds_is_watched_only_where_nothing_else_is_left():
    anchor = anchor_prompts(AnchorSettings())
    held = {prompt.text for prompts in anchor.values() for prompt in prompts}
    for prompts in watched_prompts(DriftWatchSettings(prompts=16), held).values():
        assert not held & {prompt.text for prompt in prompts}
    assert len(watched_prompts(DriftWatchSettings(prompts=132), held)["harmful"]) == 132


def write(path, rows):
    path.write_text(json.dumps(rows))
    return DriftWatchSettings(prompts_path=str(path), prompts=2)


def test_own_prompts(tmp_path):
    rows = [{"prompt": f"bad {number}", "kind": "harmful"} for number in range(4)]
    settings = write(tmp_path / "own.json", [*rows, {"prompt": "good", "kind": "plain"}])
    assert texts(watched_prompts(settings)) == {"harmful": ["bad 0", "bad 2"], "plain": ["good"]}
    settings = write(tmp_path / "own.json", [{"prompt": "list", "kind": "list"}])
    assert [*watched_prompts(settings)] == ["harmful", "lookalike", "plain", "list"]


def texts(found):
    return {kind: [prompt.text for prompt in prompts] for kind, prompts in found.items()}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "x", "kind": "Harm"}], r"row 1 of .*own.json needs a 'kind': harmful"),
        (["x"], "row 1 of .* is no object with 'prompt'"),
        ([{"prompt": " ", "kind": "plain"}], "row 1 of .* needs a text 'prompt'"),
        ([{"prompt": "x", "kind": "plain"}], "has no harmful prompt"),
    ],
)
def test_wrong_prompts_are_refused(tmp_path, rows, message):
    with pytest.raises(ConfigurationError, match=rf"drift_watch\.prompts_path: .*{message}"):
        watched_prompts(write(tmp_path / "own.json", rows))


@pytest.mark.parametrize(
    ("now", "drift"),
    [
        ({"refusal_mass_harmful": 0.7, "refusal_mass_plain": 0.1}, 0.2),
        ({"refusal_mass_harmful": 0.95, "refusal_mass_plain": 0.05}, 0.0),
        ({"refusal_mass_harmful": 0.8, "refusal_mass_plain": 0.5}, 0.4),
        ({"expected_json": 0.7, "agreement_plainness": 1.0}, 0.2),
        ({"expected_json": 0.9, "agreement_plainness": 0.5}, 0.5),
    ],
)
def test_drift_is_the_largest_change_for_the_worse(now, drift):
    start = {"refusal_mass_harmful": 0.9, "refusal_mass_plain": 0.1, "expected_json": 0.9, "agreement_plainness": 1.0}
    assert drift_between({name: start[name] for name in now}, now) == pytest.approx(drift)
