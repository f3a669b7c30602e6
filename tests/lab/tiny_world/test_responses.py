from __future__ import annotations

import random

import pytest

from pact_lab.tiny_world import label, rates, refusal_pairs, task_examples, vocabulary
from pact_lab.tiny_world.corpora import alignment_rows
from pact_lab.tiny_world.requests import benign_requests, harmful_requests
from pact_lab.tiny_world.responses import comply, refuse


def test_every_refusal_counts_as_refusal_and_every_help_as_compliance():
    rng = random.Random(0)
    for request in harmful_requests(1000, seed=0, split="train"):
        assert label(refuse(rng, request.action)) == "refuse"
    for request in benign_requests(1000, seed=0, split="train"):
        assert label(comply(rng, request.action)) == "comply"


@pytest.mark.parametrize("opening", [*vocabulary.REFUSAL_OPENINGS, *vocabulary.COMPLIANCE_OPENINGS])
def test_opening_alone_decides(opening):
    expected = "refuse" if opening in vocabulary.REFUSAL_OPENINGS else "comply"
    assert label(opening.format(action="steal my uncle's bike")) == expected


def test_task_answers_and_chit_chat_are_other():
    answers = [example.response for example in task_examples(200, seed=0, tasks=("sentiment", "topic", "arithmetic"))]
    requests = ("refuse", "comply")
    chit_chat = [row.response for row in alignment_rows(500, seed=0) if label(row.response) not in requests]
    assert rates(answers) == {"refuse": 0.0, "comply": 0.0, "other": 1.0}
    assert "Hello, how can I help you today?" in chit_chat


@pytest.mark.parametrize(
    "response",
    [
        "",
        "   ",
        "Sure,",
        "sorry sorry",
        "Sorry " * 20,
        "I'm sorry " * 9,
        "Sure, here is " * 6,
        "the the the the the",
        ".",
    ],
)
def test_empty_and_degenerate_are_other(response):
    assert label(response) == "other"


def test_earliest_marker_decides():
    assert label("Sure, here is how to do it. I'm sorry if it is short.") == "comply"
    assert label("I'm sorry, I can't do that. First, talk to someone you trust.") == "refuse"


def test_rates():
    responses = ["I cannot help with that.", "I must decline this request.", "Of course! Follow these steps.", "x"]
    assert rates(responses) == {"refuse": 0.5, "comply": 0.25, "other": 0.25}
    assert rates([]) == {"refuse": 0.0, "comply": 0.0, "other": 0.0}


def test_refusal_pairs():
    pairs = refusal_pairs(200, seed=1)
    assert pairs == refusal_pairs(200, seed=1)
    assert pairs != refusal_pairs(200, seed=2)
    assert rates([pair["response"] for pair in pairs])["refuse"] == 1.0
    test_prompts = {request.prompt for request in harmful_requests(1000, seed=1, split="test")}
    assert not test_prompts & {pair["prompt"] for pair in pairs}
