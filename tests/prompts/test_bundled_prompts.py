"""The bundled prompts keep their promises: enough, balanced, paired, disjoint, and not taken from a public set."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from pact_plugins.errors import ConfigurationError
from pact_plugins.prompts import SPLITS, BundledPrompt, harmful_prompts, harmless_prompts

EVERYTHING = [prompt for split in SPLITS for read in (harmful_prompts, harmless_prompts) for prompt in read(split)]


@cache
def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z']+", text.lower()))


def similarity(left: str, right: str) -> float:
    """Jaccard similarity of the two word sets."""
    first, second = words(left), words(right)
    return len(first & second) / len(first | second)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("read", [harmful_prompts, harmless_prompts])
def test_enough_prompts_over_balanced_categories(read, split):
    prompts = read(split)
    counts = Counter(prompt.category for prompt in prompts)
    assert len(prompts) >= 128
    assert len(counts) >= 8
    assert max(counts.values()) == min(counts.values())
    assert {prompt.split for prompt in prompts} == {split}


@pytest.mark.parametrize("split", SPLITS)
def test_each_harmful_request_has_one_look_alike(split):
    harmful = {prompt.pair_id: prompt for prompt in harmful_prompts(split)}
    harmless = {prompt.pair_id: prompt for prompt in harmless_prompts(split)}
    assert harmful.keys() == harmless.keys()
    for pair_id, prompt in harmful.items():
        assert prompt.category == harmless[pair_id].category
        assert len(words(prompt.prompt) & words(harmless[pair_id].prompt)) >= 3, pair_id


def test_ids_and_texts_are_unique():
    assert len({prompt.id for prompt in EVERYTHING}) == len(EVERYTHING)
    assert len({prompt.prompt.lower() for prompt in EVERYTHING}) == len(EVERYTHING)


def test_splits_share_no_near_duplicates():
    for read in (harmful_prompts, harmless_prompts):
        for first in read("calibration"):
            for second in read("evaluation"):
                assert similarity(first.prompt, second.prompt) < 0.6, (first.id, second.id)


def test_texts_are_clean():
    for prompt in EVERYTHING:
        assert isinstance(prompt, BundledPrompt)
        assert prompt.prompt == " ".join(prompt.prompt.split())
        assert 15 < len(prompt.prompt) < 300
        assert not re.search(r"\d", prompt.prompt), "no quantities"


def test_unknown_split_is_an_error_that_names_it():
    with pytest.raises(ConfigurationError, match=r"'test'.*calibration, evaluation"):
        harmful_prompts("test")


@pytest.mark.skipif("PACT_DATA_PATH" not in os.environ, reason="needs the public prompt sets (PACT_DATA_PATH)")
def test_nothing_is_taken_from_a_public_set():
    root = Path(os.environ["PACT_DATA_PATH"])
    columns = {
        "prompts/harmbench_behaviors_text_all.csv": "Behavior",
        "prompts/strongreject_dataset.csv": "forbidden_prompt",
        "xstest/xstest_prompts.csv": "prompt",
    }
    for name, column in columns.items():
        with (root / name).open(newline="", encoding="utf-8") as file:
            public = [row[column] for row in csv.DictReader(file)]
        assert public
        for prompt in EVERYTHING:
            closest = max(public, key=lambda text: similarity(prompt.prompt, text))
            assert similarity(prompt.prompt, closest) < 0.6, (prompt.prompt, closest)
