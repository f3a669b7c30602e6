"""What filling the cache is said to take."""

from __future__ import annotations

import pytest

from pact_plugins.reference.cache import predicting
from pact_plugins.reference.cache.predicting import Prediction, in_bytes, in_time, tokens_per_second


@pytest.fixture
def clock(monkeypatch):
    """Moves when the test says so."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(predicting.time, "perf_counter", lambda: Clock.now)
    return Clock


def test_speed_is_taken_from_first_middle_and_last_and_the_first_run_does_not_count(clock):
    computed = []

    def compute(tokens):
        clock.now += 100.0 if not computed else tokens / 10
        computed.append(tokens)
        return tokens

    assert tokens_per_second([50, 40, 30, 20, 10], compute) == pytest.approx(10)
    assert computed == [50, 50, 30, 10]


def test_of_few_groups_each_is_tried_once(clock):
    computed = []

    def compute(tokens):
        clock.now += 1.0
        computed.append(tokens)
        return tokens

    assert tokens_per_second([8, 4], compute) == pytest.approx(6)
    assert computed == [8, 8, 4]


def test_size_counts_tokens_and_sequences():
    prediction = Prediction.of_size(total=10, missing=2, response_tokens=5, record_bytes=100)
    assert prediction.bytes == 5 * 100 + 2 * 48
    told = "8 of 10 sequences are there; 2 to compute with 5 response tokens, 596 B on disk (119 bytes a token)"
    assert str(prediction) == told


@pytest.mark.parametrize(
    ("value", "told"), [(999, "999 B"), (1500, "1.5 kB"), (34_000_000, "34 MB"), (2.5e12, "2.5 TB")]
)
def test_bytes(value, told):
    assert in_bytes(value) == told


@pytest.mark.parametrize(("seconds", "told"), [(3.21, "3.2 s"), (150, "2 min"), (9000, "2.5 h")])
def test_time(seconds, told):
    assert in_time(seconds) == told
