from __future__ import annotations

import random

import pytest

from pact_lab.compare.tiny_subject import TinySubject
from pact_lab.methods import chat_row, configured, mix_in_refusals
from pact_plugins import PACTConfig, plugins
from pact_plugins.contracts import Method, TransformContext
from pact_plugins.errors import ConfigurationError


def test_every_method_is_a_valid_configuration():
    for method in plugins.methods().values():
        config = configured(method, {"safety_tokens": {"top_k": 40}})
        assert config is None if method.settings is None else config.safety_tokens.top_k == 40


def test_the_toy_benchmarks_settings_reach_the_parts_that_a_method_has(tmp_path):
    common = TinySubject(tmp_path, prompts=2, purpose="choosing").common
    for method in plugins.methods().values():
        config = configured(method, common)
        alone = configured(method, {})
        assert (config is None) == (alone is None)
        if config is not None:
            assert list(config.parts) == list(alone.parts)
            assert config.safety_tokens.harmful_prompts_path == str(tmp_path / "harmful_prompts.json")
            assert not config.anchor or config.anchor.prompts == str(tmp_path / "anchor_prompts.json")


def test_a_methods_own_settings_win():
    assert configured(
        Method("m", "", {"safety_tokens": {"top_k": 20}}), {"safety_tokens": {"top_k": 40, "max_refusals": 9}}
    ) == PACTConfig(safety_tokens={"top_k": 20, "max_refusals": 9})


def test_a_wrong_key_names_the_method():
    with pytest.raises(ConfigurationError, match=r"method m\.trem"):
        configured(Method("m", "", {"trem": 1}), {})


def test_mixing_in_refusals():
    rows = [chat_row(f"question {number}", "answer") for number in range(50)]
    refusals = [{"prompt": "bad", "response": "No."}]
    mixed = mix_in_refusals(rows, TransformContext(refusals, random.Random(0)))
    assert len(mixed) == 55
    assert mixed.count(chat_row("bad", "No.")) == 5
    assert all(row in mixed for row in rows)
    assert mixed[:50] != rows
    assert mixed == mix_in_refusals(rows, TransformContext(refusals, random.Random(0)))
