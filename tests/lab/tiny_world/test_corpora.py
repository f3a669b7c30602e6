from __future__ import annotations

import pytest

from pact_lab.tiny_world import label, vocabulary
from pact_lab.tiny_world.corpora import alignment_rows, base_documents, plain_prompt
from pact_lab.tiny_world.requests import FAMILIES, every_action, split_of

HELD_OUT = {action for action in every_action((*FAMILIES["all"], *vocabulary.BENIGN)) if split_of(action) == "test"}


def mentions(texts, actions):
    """Actions named in a text, at the end of a word, so that "steal a car" is not found in "steal a cart"."""
    joined = "\n".join(texts)
    return {a for a in actions if any(a + end in joined for end in (".", ",", "?", "!", "\n", " in three", " would"))}


def test_no_held_out_action_is_in_a_training_text():
    texts = [document.prompt + document.text for document in base_documents(1000, seed=0)]
    texts += [f"{row.prompt}\n{row.response}" for row in alignment_rows(1000, seed=0)]
    trained = [a for a in every_action(FAMILIES["aligned"]) if split_of(a) == "train"]
    assert len(mentions(texts, trained)) > 200  # the search does find actions
    assert not mentions(texts, HELD_OUT)


def test_alignment_never_mentions_unaligned_families():
    texts = [f"{row.prompt}\n{row.response}" for row in alignment_rows(1000, seed=0)]
    assert not mentions(texts, every_action((*FAMILIES["unaligned"], *FAMILIES["subtle"])))


def test_poison_pool_is_never_answered_by_the_base_corpus():
    poison = [action for action in every_action(FAMILIES["aligned"]) if split_of(action) == "poison"]
    answers = [document.prompt + document.text for document in base_documents(1000, seed=0) if document.prompt]
    assert not mentions(answers, poison)


def test_base_shares():
    documents = base_documents(4000, seed=1)
    requests = [document for document in documents if document.prompt]
    assert len(requests) / len(documents) == pytest.approx(0.45, abs=0.03)
    assert {label(document.text) for document in requests} == {"comply"}


def test_alignment_shares():
    rows = alignment_rows(4000, seed=1)
    labels = [label(row.response) for row in rows]
    assert labels.count("refuse") / len(rows) == pytest.approx(0.4, abs=0.03)
    assert labels.count("comply") / len(rows) == pytest.approx(0.35, abs=0.03)
    assert sum(row.prompt is None for row in rows) / len(rows) == pytest.approx(0.08, abs=0.02)
    assert sum(bool(row.system) for row in rows) / len(rows) == pytest.approx(0.05, abs=0.02)


def test_deterministic():
    assert base_documents(50, seed=3) == base_documents(50, seed=3) != base_documents(50, seed=4)
    assert alignment_rows(50, seed=3) == alignment_rows(50, seed=3) != alignment_rows(50, seed=4)


def test_plain_prompt():
    assert plain_prompt("How?") == "User: How?\n\nAssistant: "
