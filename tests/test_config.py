"""``PACTConfig``: defaults, bounds, errors that name the key."""

from __future__ import annotations

import re

import pytest
import yaml
from pydantic import ValidationError

from pact_plugins import PACTConfig, plugins
from pact_plugins.errors import ConfigurationError
from pact_plugins.objective import GateConfig


def test_defaults():
    config = PACTConfig()
    assert config.objective == "match"
    assert config.kl_temperature == 2.0
    assert config.safety_tokens == "auto"
    assert config.top_k == 50
    assert config.reference == "auto"
    assert config.receipts == "exact"
    assert config.exclude_special_tokens
    assert config.gate == GateConfig(top_p=0.9, alpha=2, bias=0, temperature=1, prefix_tokens=8, decay_tau=8, boost=1)


@pytest.mark.parametrize("objective", ["match", "published", "published_positive", "full_kl"])
def test_the_coefficient_defaults_to_the_objectives_own(objective):
    own = plugins.objectives()[objective].default_kl_coef
    assert PACTConfig(objective=objective).coefficient == own
    assert PACTConfig(objective=objective, kl_coef=None).coefficient == own
    assert PACTConfig(objective=objective, kl_coef=0).coefficient == 0
    assert PACTConfig(objective=objective, kl_coef=0.25).coefficient == 0.25


@pytest.mark.parametrize("mapping", [None, True, {}])
def test_nothing_means_all_defaults(mapping):
    assert PACTConfig.from_mapping(mapping) == PACTConfig()


def test_a_mapping_round_trips():
    config = PACTConfig.from_mapping({"objective": "published", "gate": {"boost": 0.5}, "kl_coef": "0.5"})
    assert config.gate.boost == 0.5
    assert config.kl_coef == 0.5
    assert PACTConfig.from_mapping(config.model_dump()) == config


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"kl_coeff": 1}, r"pact\.kl_coeff: unknown key; did you mean 'kl_coef'\?"),
        ({"refrence": "auto"}, r"did you mean 'reference'\?"),
        ({"zzz": 1}, r"pact\.zzz: unknown key; known keys: preset, objective,"),
        ({"gate": {"top": 0.9}}, r"pact\.gate\.top: unknown key; did you mean 'top_p'\?"),
        ({"gate": {"top_p": 2}}, r"pact\.gate\.top_p: .*less than or equal to 1 \(found 2\)"),
        ({"kl_coef": -1}, r"pact\.kl_coef: .*greater than or equal to 0 \(found -1\)"),
        ({"kl_coef": float("nan")}, r"pact\.kl_coef: "),
        ({"kl_coef": float("inf")}, r"pact\.kl_coef: "),
        ({"kl_coef": "much"}, r"pact\.kl_coef: .*\(found 'much'\)"),
        ({"kl_temperature": 0}, r"pact\.kl_temperature: .*greater than 0"),
        ({"top_k": 1}, r"pact\.top_k: "),
        ({"top_k": 2.5}, r"pact\.top_k: "),
        ({"max_refusals": 0}, r"pact\.max_refusals: "),
        ({"calibration_batch_size": 0}, r"pact\.calibration_batch_size: "),
        ({"safety_tokens": ""}, r"pact\.safety_tokens: "),
        ({"objective": "macth"}, r"pact\.objective: unknown objective 'macth'; available: match, published"),
        ({"objective": ["match"]}, r"pact\.objective: "),
        ({"token_scorer": "x"}, r"pact\.token_scorer: unknown token_scorer 'x'; available: p_diff, pref_logratio"),
        ({"reference": "x"}, r"pact\.reference: unknown reference 'x'; available: auto, adapter_off, frozen_copy"),
        ({"receipts": "none"}, r"pact\.receipts: "),
        ({"reference": "adapter_off", "reference_model_path": "m"}, r"reference_model_path.*drop one"),
        ({"drift_watch": 2}, r"pact\.drift_watch: must be a block of keys \(every, prompts, .*\) \(found 2\)"),
        ({"drift_watch": {"every": "often"}}, r"pact\.drift_watch\.every: must be a whole number \(found 'often'\)"),
        ({"gate": None}, r"pact\.gate: must be a block of keys \(top_p, .*; for the default leave the key out"),
        ({"parts": {"tether": 1}}, r"pact\.parts\.tether: must be a block of keys \(found 1\)"),
        ({"include_openers": "maybe"}, r"pact\.include_openers: must be true or false"),
        ({"reference": 3}, r"pact\.reference: must be text"),
        ({"kl_coef": [1]}, r"pact\.kl_coef: must be a number"),
        ([1], r"pact: expected a mapping of settings, found \[1\]"),
        ("match", r"pact: expected a mapping of settings, found 'match'"),
    ],
)
def test_wrong_settings_are_named(mapping, message):
    with pytest.raises(ConfigurationError, match=message):
        PACTConfig.from_mapping(mapping)


@pytest.mark.parametrize("name", PACTConfig.model_fields)
@pytest.mark.parametrize("value", [object(), [[1]], 2.5, None, {"": 1}])
def test_no_error_speaks_of_python_types_or_classes(name, value):
    said = ""
    try:
        PACTConfig.from_mapping({name: value})
    except ConfigurationError as error:
        said = str(error).split("(found")[0]
    assert not re.search(r"dict|valid|instance|Config|integer|boolean|NoneType", said)


@pytest.mark.parametrize("key", ["anchor", "gate_training_rows"])
def test_off_may_be_written_without_quotes(key):
    settings = yaml.safe_load(f"preset: guard\n{key}: off")
    assert settings[key] is False
    assert getattr(PACTConfig.from_mapping(settings), key) == "off"


def test_every_wrong_key_is_named_at_once():
    with pytest.raises(ConfigurationError) as error:
        PACTConfig.from_mapping({"kl_coeff": 1, "top_k": 0}, source="train.yaml: pact")
    lines = str(error.value).splitlines()
    assert len(lines) == 2
    assert any(line.startswith("train.yaml: pact.kl_coeff:") for line in lines)
    assert any(line.startswith("train.yaml: pact.top_k:") for line in lines)


def test_direct_construction_raises_a_value_error_that_names_the_key():
    with pytest.raises(ValidationError, match="kl_coeff"):
        PACTConfig(kl_coeff=1)
    assert issubclass(ValidationError, ValueError)


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(ValidationError):
        PACTConfig().kl_coef = 3


@pytest.mark.parametrize("name", PACTConfig.model_fields)
def test_every_key_is_described(name):
    assert PACTConfig.model_fields[name].description


@pytest.mark.parametrize("name", GateConfig.model_fields)
def test_every_gate_key_is_described(name):
    assert GateConfig.model_fields[name].description


@pytest.mark.parametrize("key", ["kl_coef", "anchor_size", "gate_threshold", "kl_temperature"])
@pytest.mark.parametrize("value", [True, False])
def test_a_yes_of_yaml_is_no_number(key, value):
    with pytest.raises(ConfigurationError, match=rf"{key}: expected a number, found {value}"):
        PACTConfig.from_mapping({key: value})
