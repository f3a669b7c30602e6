"""What is exported: tokens as TRL makes them, and a damaged or foreign folder refused."""

from __future__ import annotations

from collections import Counter

import pytest
from datasets import Dataset, DatasetDict
from transformers import AutoModelForCausalLM

from pact_lab import tiny_world
from pact_lab.frameworks import tokens
from pact_plugins.errors import ConfigurationError
from tests.helpers import exported


def counted(rows):
    return Counter((tuple(ids), tuple(labels)) for ids, labels in rows)


@pytest.mark.framework
def test_trl_trains_on_all_that_follows_the_generation_prompt(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_world.aligned_path())
    found = tokens.of_trl(model, exported.tokenizer(), exported.ROWS, exported.TUNING, tmp_path)
    assert found == counted(exported.expected())
    assert found.total() == len(exported.ROWS)


@pytest.mark.parametrize("form", ["axolotl", "llamafactory"])
def test_a_framework_s_tokens_are_found_where_it_left_them(tmp_path, form):
    rows = Dataset.from_list([{"input_ids": ids, "labels": labels} for ids, labels in exported.expected()])
    if form == "axolotl":
        rows.save_to_disk(tmp_path / "digest")
    else:
        DatasetDict({"train": rows}).save_to_disk(tmp_path)
    assert tokens.of_framework(tmp_path) == counted(exported.expected())


def test_no_tokens(tmp_path):
    with pytest.raises(ConfigurationError, match="holds no tokens"):
        tokens.of_framework(tmp_path)
