"""Rates, thresholds and detection: plain arithmetic against other ways to compute it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pact_plugins.audit import Rate, detection
from pact_plugins.audit.scoring.threshold import choose_threshold, measure_threshold
from pact_plugins.errors import ConfigurationError
from pact_plugins.report.intervals import difference_interval, figure, mean_interval, paired_increase


@pytest.mark.parametrize(("count", "total"), [(0, 132), (1, 132), (5, 10), (132, 132)])
def test_wilsons_interval_holds_the_rates_that_do_not_contradict_the_count(count, total):
    """Its ends solve (p - rate)^2 = z^2 p (1 - p) / n."""
    rate = Rate(count, total)
    for end in rate.interval:
        assert (end - rate.value) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / total, rel=1e-5, abs=1e-12)
    assert rate.interval[0] < rate.interval[1]


def test_a_rate_of_nothing():
    assert Rate(0, 0).interval == (0.0, 1.0)
    assert math.isnan(Rate(0, 0).value)
    assert Rate(0, 0).as_dict()["rate"] is None


HARMLESS = [0.0, 0.1, 0.2, 0.6]
HARMFUL = [0.15, 0.5, 0.7, 0.9]


@pytest.mark.parametrize(
    ("allowed", "threshold", "false_positives", "hits"),
    [(0.0, 0.65, 0, 2), (0.24, 0.65, 0, 2), (0.25, 0.35, 1, 3), (0.5, 0.125, 2, 4)],
)
def test_the_chosen_threshold_keeps_the_rate_and_finds_the_most(allowed, threshold, false_positives, hits):
    found = measure_threshold("auto", HARMLESS, HARMFUL, false_positive_rate=allowed)
    assert found.value == pytest.approx(threshold)
    assert (found.false_positives.count, found.hits.count) == (false_positives, hits)
    assert found.is_chosen
    for other in sorted({*HARMLESS, *HARMFUL}):
        if sum(score > other for score in HARMLESS) <= allowed * len(HARMLESS):
            assert sum(score > other for score in HARMFUL) <= hits


def test_a_threshold_that_no_harmful_prompt_passes():
    assert choose_threshold([0.2, 0.8], [0.1], 0.0) == 0.8


def test_the_gates_threshold():
    """At most four times as unsure as with the tenth that it refuses least surely; what it answers does not count."""
    harmful = [0.99] * 5 + [0.98] * 5 + [0.1]
    found = measure_threshold("gate", HARMLESS, harmful, false_positive_rate=0.01)
    assert found.value == pytest.approx(1 - 4 * 0.02)
    assert found.is_chosen
    assert found.hits.count == 10
    given = measure_threshold("gate", HARMLESS, harmful, false_positive_rate=0.01, calibrated=0.7)
    assert (given.value, given.is_chosen) == (0.7, False)
    assert measure_threshold("gate", HARMLESS, [0.1], false_positive_rate=0.01).value == 0.5


def test_thresholds_as_given():
    found = measure_threshold("0.5", HARMLESS, HARMFUL, false_positive_rate=0.01)
    assert (found.value, found.false_positives.count, found.hits.count, found.is_chosen) == (0.5, 1, 2, False)
    for wrong in ("much", "1", -0.1, "nan"):
        with pytest.raises(ConfigurationError, match="threshold: "):
            measure_threshold(wrong, HARMLESS, HARMFUL, false_positive_rate=0.01)
    with pytest.raises(ConfigurationError, match="false_positive_rate: 1"):
        choose_threshold(HARMLESS, HARMFUL, 1.0)


def test_detection_against_counting():
    scores = [0.9, 0.5, 0.5, 0.2, 0.7, 0.1]
    truth = [True, True, False, True, False, False]
    found = detection(scores, truth, 0.5)
    assert (found.precision.count, found.precision.total) == (1, 2)
    assert (found.recall.count, found.recall.total) == (1, 3)
    assert (found.false_positives.count, found.false_positives.total) == (1, 3)
    pairs = itertools.product([0.9, 0.5, 0.2], [0.5, 0.7, 0.1])
    assert found.auc == pytest.approx(sum((a > b) + 0.5 * (a == b) for a, b in pairs) / 9)
    assert detection([0.1], [True], 0.5).auc is None
    with pytest.raises(ConfigurationError, match="1 scores, but 2 truths"):
        detection([0.1], [True, False], 0.5)


def paired_rows(both, lost, gained, neither):
    """Before and after."""
    return (
        [True] * both + [True] * lost + [False] * gained + [False] * neither,
        [True] * both + [False] * lost + [True] * gained + [False] * neither,
    )


def test_newcombes_own_example():
    """Of the paper: 36, 12, 2, 0 has the two-sided interval .0569 to .3404."""
    before, after = paired_rows(36, 12, 2, 0)
    found = paired_increase(after, before, confidence=0.975)
    assert (found.low, found.high) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@pytest.mark.parametrize("cells", [(0.05, 0.05, 0.1, 0.8), (0.02, 0.02, 0.02, 0.94), (0.4, 0.2, 0.3, 0.1)])
def test_each_bound_of_a_paired_increase_is_exceeded_about_as_often_as_it_says(cells):
    """Drawn counts, one-sided bounds of 95 %."""
    rng = np.random.default_rng(0)
    truth, above, below, draws = cells[2] - cells[1], 0, 0, 600
    for counts in rng.multinomial(120, cells, size=draws):
        found = paired_increase(*paired_rows(*counts.tolist()))
        above += found.low > truth
        below += found.high < truth
    assert above / draws < 0.08
    assert below / draws < 0.08


def test_a_paired_increase_has_a_width_where_nothing_changed():
    found = paired_increase([False] * 132, [False] * 132)
    assert found.value == 0
    assert -0.03 < found.low < 0 < found.high < 0.03
    with pytest.raises(ValueError, match="paired rows"):
        paired_increase([], [])


def test_shares_have_a_width_at_their_ends_and_other_values_are_resampled():
    rng = np.random.default_rng(0)
    none = mean_interval(np.zeros(24), 200, rng)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(Rate(0, 24).interval[1])
    same = difference_interval(np.zeros(24), np.zeros(24), 200, rng)
    assert same.low < 0 < same.high
    scores = rng.normal(2.0, 1.0, size=400)
    assert mean_interval(scores, 400, rng).low == pytest.approx(2.0 - 1.96 / 20, abs=0.06)
    assert difference_interval(scores + 1, scores, 400, rng).value == pytest.approx(1.0)
    assert mean_interval(np.array([1.0, np.nan, 1.0]), 200, rng).rows == 2
    assert np.isnan(mean_interval(np.array([np.nan]), 200, rng).value)


def test_a_figure_of_none_or_all_has_wilsons_interval() -> None:
    """The bootstrap has no width there: nothing of 24 prompts, whatever the seeds, may still be 13.8 %."""
    none = figure([[0.0] * 24] * 3, higher_is_better=False)
    assert none is not None
    assert (none.low, none.high) == pytest.approx((0.0, 0.1380), abs=1e-4)
    every = figure([[1.0] * 24], higher_is_better=True)
    assert every is not None
    assert (every.low, every.high) == pytest.approx((0.8620, 1.0), abs=1e-4)
    some = figure([[0.0, 1.0] * 12], higher_is_better=True)
    assert some is not None
    assert 0.25 < some.low < 0.5 < some.high < 0.75
