"""Presets set defaults; what the user writes wins."""

import pytest
from pydantic import ValidationError

from pact_plugins.config import PACTConfig
from pact_plugins.errors import ConfigurationError
from pact_plugins.presets import PRESETS


def test_guard():
    config = PACTConfig(preset="guard")
    assert (config.objective, config.coefficient) == ("match", 0.5)
    assert (config.gate_training_rows, config.anchor, config.anchor_size) == ("hard", "bundled", 64)


def test_gate_and_anchor_without_the_term():
    config = PACTConfig(preset="gate_anchor")
    assert (config.coefficient, config.gate_training_rows, config.anchor) == (0, "hard", "bundled")
    assert not config.is_off
    assert not config.holds_tokens


def test_published_is_the_papers_selection_and_objective():
    config = PACTConfig(preset="published")
    assert (config.objective, config.coefficient, config.include_openers) == ("published", 1.0, False)


def test_without_a_word_it_is_what_keeps_refusals_and_task():
    config = PACTConfig()
    assert config == PACTConfig(preset="gate_anchor")
    assert PACTConfig(reference_check_every=10, cache_path="x").preset == "gate_anchor"


@pytest.mark.parametrize(
    "written", [{"kl_coef": 2}, {"objective": "match"}, {"anchor": "off"}, {"gate_training_rows": "off"}]
)
def test_what_is_written_without_a_preset_stands_beside_the_bare_term(written):
    config = PACTConfig(**written)
    assert config == PACTConfig(preset="match", **written)
    assert (config.coefficient, config.gate_training_rows, config.anchor) == (2, "off", "off")


def test_a_coefficient_left_open_is_not_written():
    assert PACTConfig(kl_coef=None).preset == "gate_anchor"


def test_the_bare_term_changes_nothing_beside_it():
    config = PACTConfig(preset="match")
    assert (config.gate_training_rows, config.anchor, config.coefficient) == ("off", "off", 2.0)


def test_explicit_keys_win():
    config = PACTConfig(preset="guard", kl_coef=0, anchor="off")
    assert config.coefficient == 0
    assert config.anchor == "off"
    assert config.gate_training_rows == "hard"
    assert not config.is_off


def test_an_unset_kl_coef_is_the_presets():
    assert PACTConfig(preset="guard", kl_coef=None).coefficient == 0.5


def test_a_presets_kl_coef_belongs_to_its_objective():
    assert PACTConfig(preset="guard", objective="published").coefficient == 1.0


def test_a_resolved_configuration_reads_back_as_itself():
    config = PACTConfig(preset="guard", gate_threshold=0.4)
    assert PACTConfig(**config.model_dump()) == config


def test_unknown_presets_list_the_known_ones():
    with pytest.raises(ConfigurationError, match=", ".join(PRESETS)):
        PACTConfig.from_mapping({"preset": "gaurd"})


@pytest.mark.parametrize(
    "settings",
    [{"gate_threshold": 0}, {"anchor_size": 1}, {"anchor_coef": 0}, {"anchor": "both"}, {"gate_training_rows": True}],
)
def test_impossible_values(settings):
    with pytest.raises(ValidationError):
        PACTConfig(**settings)
