"""The prompt-free pass without padding: responses of similar length together, the same logits."""

from __future__ import annotations

import random

import numpy
import pytest
import torch

from pact_plugins.batch import prompt_free
from pact_plugins.batch.prompt_free import prompt_free_batch, similar_lengths
from pact_plugins.batch.responses import IGNORE_INDEX, find_responses
from pact_plugins.batch.sequences import split_where_padding_ends
from pact_plugins.contracts import ReferenceRequest
from pact_plugins.modeling import AutocastState, LiveHead
from pact_plugins.reference.online import DecoderReference
from tests.helpers.tiny import tiny_llama

HEADER = [3, 4]


def padded(lengths, groups):
    return sum(max(lengths[index] for index in group) * len(group) for group in groups)


@pytest.mark.parametrize("seed", range(20))
def test_a_split_saves_more_than_it_is_worth(seed):
    generator = random.Random(seed)
    lengths = [generator.randint(1, 300) for _ in range(generator.randint(1, 30))]
    groups = split_where_padding_ends(lengths, worth=200)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    assert [lengths[index] for group in groups for index in group] == sorted(lengths, reverse=True)
    assert padded(lengths, [range(len(lengths))]) - padded(lengths, groups) >= 200 * (len(groups) - 1)
    for group in groups:
        kept = [lengths[index] for index in group]
        assert all((kept[0] - kept[at]) * (len(kept) - at) <= 200 for at in range(len(kept)))


def test_equal_lengths_stay_together():
    assert split_where_padding_ends([7, 7, 7], worth=0) == [[0, 1, 2]]
    assert split_where_padding_ends([], worth=0) == []


def batch_of(*response_lengths, width=64):
    """One response at the end of each row, of random tokens."""
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.randint(5, 360, (len(response_lengths), width), generator=generator)
    labels = input_ids.clone()
    for row, length in enumerate(response_lengths):
        labels[row, : width - length] = IGNORE_INDEX
    return input_ids, labels


def test_the_parts_hold_every_token_once(monkeypatch):
    monkeypatch.setattr(prompt_free, "_WORTH_A_PASS", 8)
    responses = find_responses(batch_of(50, 4, 5, 48, 20)[1])
    whole = prompt_free_batch(responses, HEADER)
    parts = list(similar_lengths(whole))
    assert len(parts) == 3
    seen = numpy.concatenate([tokens for tokens, _ in parts])
    assert sorted(seen.tolist()) == list(range(len(responses)))
    for tokens, part in parts:
        before = part.input_ids[part.rows, part.columns]
        assert numpy.array_equal(before, whole.input_ids[whole.rows[tokens], whole.columns[tokens]])
        assert part.attention_mask.any(axis=0).all()


def test_a_batch_without_a_response_is_one_part():
    ((tokens, part),) = similar_lengths(prompt_free_batch(find_responses(batch_of(0, 0)[1]), HEADER))
    assert len(tokens) == 0
    assert part.input_ids.tolist() == [HEADER]


def test_the_reference_reads_less_and_says_the_same(monkeypatch):
    model = tiny_llama()
    input_ids, labels = batch_of(50, 4, 5, 48, 6)
    request = ReferenceRequest(
        {"input_ids": input_ids},
        find_responses(labels),
        torch.arange(20, 40),
        HEADER,
        AutocastState("cpu", False, torch.bfloat16),
        measured=None,
    )
    read = []
    model.model.register_forward_hook(
        lambda _module, _args, kwargs, _output: read.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    reference = DecoderReference(model.model, LiveHead(model))
    together = reference.logits(request)
    assert len(read) == 2
    monkeypatch.setattr(prompt_free, "_WORTH_A_PASS", 16)
    apart = reference.logits(request)
    torch.testing.assert_close(apart.prompt_free, together.prompt_free, rtol=1e-4, atol=1e-5)
    assert len(read) == 5
    assert sum(read[3:]) < 0.6 * read[1]
