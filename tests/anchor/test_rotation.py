"""Which anchors a micro-batch sees."""

from collections import Counter

import pytest

from pact_plugins.anchor.rotation import StepIndex, drawn_indices


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_every_anchor_of_a_kind_is_drawn_equally_often_and_the_kinds_are_balanced(count):
    drawn = Counter()
    for number in range(48):
        indices = drawn_indices(StepIndex(number), count, [4, 6])
        assert len(indices) == count
        harmful = sum(index < 4 for index in indices)
        assert abs(2 * harmful - count) <= 1
        drawn.update(indices)
    harmful, harmless = [drawn[i] for i in range(4)], [drawn[i] for i in range(4, 10)]
    assert sum(harmful) == sum(harmless) == 24 * count
    assert max(harmful) - min(harmful) <= 1
    assert max(harmless) - min(harmless) <= 1


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_three_kinds_take_turns(count):
    drawn = [drawn_indices(StepIndex(number), count, [3, 4, 5]) for number in range(60)]
    kinds = [Counter("aaabbbbccccc"[index] for index in indices) for indices in drawn]
    assert all(len(indices) == count for indices in drawn)
    assert all(max(found[kind] for kind in "abc") - min(found[kind] for kind in "abc") <= 1 for found in kinds)
    times = Counter(index for indices in drawn for index in indices)
    assert [sum(times[index] for index in own) for own in (range(3), range(3, 7), range(7, 12))] == [20 * count] * 3
    assert all(
        max(times[i] for i in own) - min(times[i] for i in own) <= 1 for own in (range(3), range(3, 7), range(7, 12))
    )


def test_rounds_are_shuffled():
    rounds = [tuple(drawn_indices(StepIndex(number), 16, [8, 8])) for number in range(4)]
    assert len(set(rounds)) == 4
    assert all(sorted(drawn) == list(range(16)) for drawn in rounds)


def test_a_resumed_run_draws_what_an_uninterrupted_one_would_have_drawn():
    def run(steps):
        return [
            drawn_indices(StepIndex(step, micro_batch, rank, micro_batches=2, ranks=3), 3, [5, 5])
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
