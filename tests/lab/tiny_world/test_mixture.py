from __future__ import annotations

import pytest

from pact_lab.tiny_world import finetuning_mixture, finetuning_rows, label
from pact_lab.tiny_world.requests import FAMILIES, every_action, harmful_requests, split_of
from pact_plugins.errors import ConfigurationError


@pytest.mark.parametrize(
    ("count", "harmful_fraction", "harmful", "benign"),
    [
        (800, 0.05, 40, 228),
        (800, 0.0, 0, 240),
        (100, 0.01, 1, 30),
        (150, 0.2, 30, 36),
        (0, 0.05, 0, 0),
        (10, 1.0, 10, 0),
    ],
)
def test_counts_are_exact(count, harmful_fraction, harmful, benign):
    kinds = [row.kind for row in finetuning_mixture(count, harmful_fraction=harmful_fraction, seed=0)]
    assert (kinds.count("harmful"), kinds.count("benign"), len(kinds)) == (harmful, benign, count)


def test_harmful_rows_comply_and_come_from_the_poison_pool():
    poison = {action for action in every_action(FAMILIES["aligned"]) if split_of(action) == "poison"}
    rows = [row for row in finetuning_mixture(800, harmful_fraction=0.1, seed=1) if row.kind == "harmful"]
    assert len({row.prompt for row in rows}) == 80
    for row in rows:
        assert label(row.response) == "comply"
        assert any(action in row.prompt for action in poison)


def test_no_row_is_a_test_prompt():
    test_prompts = {request.prompt for request in harmful_requests(2000, seed=0, split="test")}
    assert not test_prompts & {row.prompt for row in finetuning_mixture(800, harmful_fraction=0.2, seed=0)}


def test_deterministic_and_shuffled():
    rows = finetuning_mixture(seed=2)
    assert rows == finetuning_mixture(seed=2)
    assert rows != finetuning_mixture(seed=3)
    positions = [index for index, row in enumerate(rows) if row.kind == "harmful"]
    assert min(positions) < 200
    assert max(positions) > 600


def test_rows_and_pairs_agree():
    for row, chat in zip(finetuning_mixture(60, seed=0), finetuning_rows(60, seed=0), strict=True):
        assert chat == {
            "prompt": [{"role": "user", "content": row.pair["prompt"]}],
            "completion": [{"role": "assistant", "content": row.pair["response"]}],
        }


@pytest.mark.parametrize("families", ["unaligned", "subtle"])
def test_poison_of_other_families(families):
    rows = finetuning_mixture(400, harmful_fraction=0.1, seed=0, families=families)
    allowed = set(every_action(FAMILIES[families]))
    harmful = [row.prompt for row in rows if row.kind == "harmful"]
    assert len(harmful) == 40
    assert all(any(action in prompt for action in allowed) for prompt in harmful)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"count": -5}, "count"),
        ({"harmful_fraction": 1.5}, "harmful_fraction"),
        ({"benign_fraction": -0.1}, "benign_fraction"),
        ({"families": "odd"}, "families"),
        ({"count": 10**6, "harmful_fraction": 1.0}, "count"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(ConfigurationError, match=f"^{named}: "):
        finetuning_mixture(seed=0, **arguments)
