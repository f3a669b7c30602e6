"""Where prompts are trained on too: which tokens are responses, and to which response each other token leads."""

from __future__ import annotations

from itertools import chain

import numpy
import pytest
import torch

from pact_plugins.batch.micro_batch import MicroBatch, StepIndex
from pact_plugins.conversation import learn_turns
from pact_plugins.modeling import AutocastState
from tests.helpers.templates import family_tokenizer

TOKENIZER = family_tokenizer("chatml")
TURNS = learn_turns(TOKENIZER)


def text_of(*turns):
    roles = ("user", "assistant")
    return "".join(f"<|im_start|>{roles[n % 2]}\n{words}<|im_end|>\n" for n, words in enumerate(turns))


def batch_of(rows, *, turns=TURNS, labelled=None, packed=False):
    """A micro-batch of rendered rows of which everything is learnt; or of packed ones, in one row."""
    encoded = [TOKENIZER(text, add_special_tokens=False)["input_ids"] for text in rows]
    positions = [list(range(len(ids))) for ids in encoded]
    if packed:
        encoded, positions = [[*chain(*encoded)]], [[*chain(*positions)]]
    width = max(map(len, encoded))
    ids, labels = torch.zeros(len(encoded), width, dtype=torch.long), torch.full((len(encoded), width), -100)
    for number, row in enumerate(encoded):
        ids[number, : len(row)] = torch.tensor(row)
        labels[number, : len(row)] = torch.tensor(row if labelled is None else labelled(row))
    inputs = {"input_ids": ids}
    if packed:
        inputs["position_ids"] = torch.tensor(positions)
    autocast = AutocastState("cpu", False, torch.bfloat16)
    return MicroBatch(labels, inputs, torch.zeros(*ids.shape, 2), autocast, StepIndex(0), turns=turns)


def words(tokens, kept):
    return TOKENIZER.decode([token for token, keep in zip(tokens.token_ids.tolist(), kept, strict=True) if keep])


ROWS = [text_of("Hello", "Well.", "And a letter", "It is!"), text_of("Who is it?", "I cannot help.")]


@pytest.mark.parametrize("packed", [False, True])
def test_each_learnt_token_belongs_to_the_response_that_it_leads_to(packed):
    batch = batch_of(ROWS, packed=packed)
    assert batch.responses.count == 3
    replies = [words(batch.responses, batch.responses.on_host[3] == number) for number in range(3)]
    assert replies == ["Well.<|im_end|>", "It is!<|im_end|>", "I cannot help.<|im_end|>"]
    # What nothing of its own sequence predicts is its first token.
    whole = [words(batch.labelled, batch.answered_by == number) for number in range(3)]
    assert whole == [
        "user\nHello<|im_end|>\n<|im_start|>assistant\nWell.<|im_end|>",
        "\n<|im_start|>user\nAnd a letter<|im_end|>\n<|im_start|>assistant\nIt is!<|im_end|>\n",
        "user\nWho is it?<|im_end|>\n<|im_start|>assistant\nI cannot help.<|im_end|>\n",
    ]
    assert torch.equal(batch.labelled.token_ids[torch.from_numpy(batch.places)], batch.responses.token_ids)
    assert (batch.own.tokens, batch.own.predicted) == (len(batch.responses), int((batch.labels[:, 1:] != -100).sum()))


def test_a_row_without_a_reply_leads_nowhere():
    batch = batch_of([ROWS[1], "<|im_start|>user\nHello, who is it<|im_end|>\n"])
    assert batch.responses.count == 1
    rows = batch.labelled.on_host[0]
    assert (batch.answered_by[rows == 0] == 0).all()
    assert (batch.answered_by[rows == 1] == -1).all()
    nothing = batch_of(["<|im_start|>user\nHello<|im_end|>\n"])
    assert (len(nothing.responses), len(nothing.labelled) > 0, set(nothing.answered_by)) == (0, True, {-1})


def test_where_replies_alone_are_learnt_nothing_is_looked_for():
    def reply(ids):
        begin = len(ids) - ids[::-1].index(TOKENIZER.convert_tokens_to_ids("<|im_start|>")) + 4
        return [-100] * begin + ids[begin:]

    batch, alone = (batch_of(ROWS[1:], labelled=reply, turns=turns) for turns in (TURNS, None))
    assert batch.responses is batch.labelled
    assert numpy.array_equal(batch.responses.on_host, alone.responses.on_host)
    assert numpy.array_equal(batch.answered_by, alone.responses.on_host[3])
