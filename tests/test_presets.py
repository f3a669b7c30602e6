"""Presets set defaults; what the user writes wins, and changes nothing else."""

from __future__ import annotations

from pact_plugins.config import PACTConfig


def test_guard():
    config = PACTConfig(preset="guard")
    assert (config.term.objective, config.term.weight) == ("match", 0.5)
    assert (config.row_gate.mode, config.anchor.prompts, config.anchor.replies) == ("hard", "bundled", 64)


def test_gate_and_anchor_without_the_term():
    config = PACTConfig(preset="gate_anchor")
    assert (config.term, config.row_gate.mode, config.anchor.prompts) == (False, "hard", "bundled")
    assert not config.is_off


def test_published_is_the_papers_selection_and_objective():
    config = PACTConfig(preset="published")
    assert (config.term.objective, config.term.weight) == ("published", 1.0)
    assert not config.safety_tokens.include_openings


def test_without_a_word_it_is_the_whole_method():
    assert PACTConfig() == PACTConfig(preset="pact")
    assert list(PACTConfig().parts) == ["term", "row_gate", "anchor"]
    term = PACTConfig().term
    assert (term.objective, term.rows, term.weight) == ("match", "refused", 0.2)


def test_the_term_alone_has_nothing_beside_it():
    config = PACTConfig(preset="match")
    assert config.parts.keys() == {"term"}
    assert config.term.weight == 2.0


def test_off_is_nothing_and_what_is_written_beside_it_stands_alone():
    assert PACTConfig(preset="off").is_off
    assert PACTConfig(preset="off", term=True).parts == PACTConfig(preset="match").parts
    assert not PACTConfig(preset="off", drift_watch=True).is_off


def test_a_preset_keeps_its_weight_whatever_the_objective():
    config = PACTConfig(preset="guard", term={"objective": "published"})
    assert (config.term.objective, config.term.weight) == ("published", 0.5)
