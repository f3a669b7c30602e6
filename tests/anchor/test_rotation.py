"""Which anchors a micro-batch sees."""

from collections import Counter

import pytest

from pact_plugins.anchor.rotation import StepIndex, drawn_indices


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_every_anchor_of_a_kind_is_drawn_equally_often_and_the_kinds_are_balanced(count):
    drawn = Counter()
    for number in range(48):
        indices = drawn_indices(StepIndex(number), count, harmful=4, harmless=6)
        assert len(indices) == count
        harmful = sum(index < 4 for index in indices)
        assert abs(2 * harmful - count) <= 1
        drawn.update(indices)
    harmful, harmless = [drawn[i] for i in range(4)], [drawn[i] for i in range(4, 10)]
    assert sum(harmful) == sum(harmless) == 24 * count
    assert max(harmful) - min(harmful) <= 1
    assert max(harmless) - min(harmless) <= 1


def test_rounds_are_shuffled():
    rounds = [tuple(drawn_indices(StepIndex(number), 16, harmful=8, harmless=8)) for number in range(4)]
    assert len(set(rounds)) == 4
    assert all(sorted(drawn) == list(range(16)) for drawn in rounds)


def test_a_resumed_run_draws_what_an_uninterrupted_one_would_have_drawn():
    def run(steps):
        return [
            drawn_indices(StepIndex(step, micro_batch, rank, micro_batches=2, ranks=3), 3, harmful=5, harmless=5)
            for step in steps
            for micro_batch in range(2)
            for rank in range(3)
        ]

    assert run(range(7))[4 * 6 :] == run(range(4, 7))


def test_micro_batches_and_ranks_have_numbers_of_their_own():
    numbers = [
        StepIndex(step, micro_batch, rank, micro_batches=2, ranks=3).number
        for step in range(3)
        for micro_batch in range(2)
        for rank in range(3)
    ]
    assert numbers == list(range(18))
