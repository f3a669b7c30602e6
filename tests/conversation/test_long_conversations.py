"""A conversation of many turns is rendered once, and each turn's context is what it would be alone."""

from __future__ import annotations

import time

import pytest

from pact_plugins.audit.scoring.encoding import TurnEncoder
from pact_plugins.conversation.reading import read_conversation
from pact_plugins.modeling import turn_ids
from pact_plugins.reference.filling import sequences_of_rows
from tests.helpers.templates import FAMILIES, family_tokenizer


def chat(turns, **more):
    messages = []
    for number in range(turns):
        messages.append({"role": "user", "content": f"And letter {number}?"})
        messages.append({"role": "assistant", "content": f"It is {number}.", **more})
    return read_conversation({"messages": messages})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("more", [{}, {"reasoning_content": "Is it so?"}], ids=["plain", "with thoughts"])
def test_each_turn_is_encoded_as_if_it_were_alone(family, more):
    tokenizer, conversation = family_tokenizer(family), chat(12, **more)
    encoded = TurnEncoder(tokenizer).turns(conversation)
    alone = [turn_ids(tokenizer, turn.context, turn.response)[0] for turn in conversation.turns]
    assert [turn.context_ids for turn in encoded] == alone
    said = [tokenizer.convert_ids_to_tokens(turn.first_response_id).strip("Ġ ") for turn in encoded]
    assert set(said) <= {"I", "It", "", "<think>"}


def test_the_time_grows_with_the_number_of_turns_and_not_with_its_square():
    tokenizer = family_tokenizer("chatml")

    def seconds(turns):
        conversation = chat(turns)
        started = time.process_time()
        assert len(sequences_of_rows(tokenizer, [conversation], max_length=None)) == 1
        return time.process_time() - started

    seconds(2)
    # Ten times as many; quadratic, it was a hundred times as long.
    assert seconds(1200) < 40 * max(seconds(120), 0.02)


def test_what_is_cached_of_a_chat_is_what_a_trainer_learns_of_it():
    tokenizer = family_tokenizer("chatml")
    (sequence,) = sequences_of_rows(tokenizer, [chat(2)], max_length=None)
    kept = [token for token in sequence.labels.tolist() if token != -100]
    assert tokenizer.decode(kept) == "It is 0.<|im_end|>It is 1.<|im_end|>"
    row = read_conversation({"prompt": "And letter 0?", "completion": "It is 0."})
    (sequence,) = sequences_of_rows(tokenizer, [row], max_length=None)
    # A trainer learns all behind the prompt.
    assert tokenizer.decode([token for token in sequence.labels.tolist() if token != -100]) == "It is 0.<|im_end|>\n"
    assert sequences_of_rows(tokenizer, [row], max_length=8) == []
