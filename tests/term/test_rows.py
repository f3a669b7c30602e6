"""The term on responses that the reference would give, or on those that it would refuse to give, alone."""

from __future__ import annotations

import pytest
import torch

from pact_plugins.batch.divergence import match
from pact_plugins.batch.micro_batch import MicroBatch, StepIndex
from pact_plugins.contracts import Answer
from pact_plugins.modeling import AutocastState, LiveHead
from pact_plugins.term.part import Term
from pact_plugins.term.settings import TermSettings, needs
from tests.helpers.guarded import Batch, part_context, tokens_with_openings
from tests.helpers.tiny import tiny_llama

MASSES = torch.tensor([0.9, 0.5, 0.1])
NO_AUTOCAST = AutocastState("cpu", False, torch.bfloat16)


@pytest.mark.parametrize(("rows", "held"), [("all", [1, 1, 1]), ("answered", [0, 1, 1]), ("refused", [1, 0, 0])])
def test_the_other_responses_are_left_alone(rows, held):
    settings, tokens, model = TermSettings(rows=rows), tokens_with_openings(), tiny_llama()
    batch = Batch.random(rows=3)
    states = torch.randn(*batch.labels.shape, model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    micro_batch = MicroBatch(
        batch.labels, batch.inputs, states.requires_grad_(), NO_AUTOCAST, StepIndex(0), measure=False
    )
    head, ids = LiveHead(model), tokens.token_ids
    reference = torch.randn(len(micro_batch.responses), len(ids), generator=torch.Generator().manual_seed(1))
    term = Term(part_context(settings, None, head=head, safety_tokens=tokens, token_ids=ids))
    found = term.loss_term(micro_batch, Answer(reference, refusal_mass=MASSES)).values
    places = [(row, column - 1) for row, column in (batch.labels != -100).nonzero().tolist()]
    chosen = torch.stack([states[place] for place in places])
    alone = match(head.logits(chosen, ids), reference, temperature=2.0)
    weights = torch.tensor([float(held[row]) for row, _ in places])
    torch.testing.assert_close(found, weights * alone)


def test_the_reference_is_asked_only_where_it_matters():
    assert not needs(TermSettings()).refusal_mass
    assert needs(TermSettings(rows="answered")).refusal_mass
