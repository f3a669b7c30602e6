"""Rows that cannot be taken apart: what the row gate can still see of a refusal, and that it says so."""

from __future__ import annotations

import pytest
import torch

from pact_plugins.batch.openings import Openings, RefusalCriterion
from pact_plugins.batch.responses import find_responses
from pact_plugins.batch.sequences import ContextRules, split_sequences
from pact_plugins.contracts import ReferenceRequest
from pact_plugins.errors import PartUnavailableError
from pact_plugins.modeling import AutocastState, LiveHead, model_parts_of
from pact_plugins.reference.online import DecoderReference
from tests.helpers.tiny import tiny_llama


@pytest.fixture
def reference():
    model_parts = model_parts_of(tiny_llama())
    return DecoderReference(model_parts.decoder, LiveHead(model_parts.causal_lm))


@pytest.fixture
def packed():
    """Two rows in one, whose mask does not keep them apart (LLaMA-Factory's ``packing: true``)."""
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(5, 300, (length,), generator=generator) for length in (10, 12)]
    labels = torch.cat(rows)
    for begin in (0, 10):
        labels[begin : begin + 6] = -100
    inputs = {
        "input_ids": torch.cat(rows)[None],
        "attention_mask": torch.ones(1, 22, dtype=torch.long),
        "position_ids": torch.tensor([[*range(10), *range(12)]]),
    }
    return inputs, labels[None]


def mass(reference, packed, *openings):
    inputs, labels = packed
    criterion = RefusalCriterion(Openings(openings), 0.0)
    request = ReferenceRequest(
        inputs,
        find_responses(labels, inputs["position_ids"]),
        torch.tensor([5]),
        None,
        AutocastState("cpu", False, torch.bfloat16),
        None,
        criterion,
    )
    return reference.logits(request).refusal_mass


def test_openings_of_one_token_count_and_a_line_says_what_does_not(reference, packed, caplog):
    assert split_sequences(*packed, ContextRules.of(model_parts_of(tiny_llama()))) is None
    with caplog.at_level("WARNING", logger="pact_plugins"):
        both = mass(reference, packed, (21,), (27, 64))
        mass(reference, packed, (21,), (27, 64))
    assert caplog.text.count("of 2 refusal openings only the 1 of one token can be looked for") == 1
    assert "neat_packing" in caplog.text
    states = reference.decoder(**packed[0]).last_hidden_state[0, [5, 15]]
    expected = reference.head.logits(states, None).softmax(-1)[:, 21]
    torch.testing.assert_close(both, expected.detach())


def test_where_all_openings_are_single_tokens_nothing_is_lost(reference, packed, caplog):
    assert (mass(reference, packed, (21,), (27,)) > mass(reference, packed, (21,))).all()
    assert not caplog.text


def test_without_an_opening_of_one_token_there_is_no_row_gate(reference, packed):
    with pytest.raises(
        PartUnavailableError, match="no refusal opening has one token, and the rows cannot be taken apart"
    ):
        mass(reference, packed, (27, 64))
