"""Openings: their tree, and the probability that a reply begins with one, against the model's own logits."""

from __future__ import annotations

import pytest
import torch

from pact_plugins.batch.openings import Openings, RefusalCriterion, Replier, opening_mass
from pact_plugins.modeling import LiveHead, model_parts_of
from pact_plugins.safety_tokens.opening_tokens import find_openings
from tests.helpers.tiny import tiny_llama

OPENINGS = ((3,), (5, 7), (5, 8, 9), (6, 1))
CONTEXTS = [[1, 2, 3], [4], [9, 8, 7, 6, 5, 4]]


def by_hand(model, context, opening):
    """The product of the model's own next-token probabilities."""
    probability, ids = 1.0, list(context)
    for token in opening:
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1].double()
        probability *= float(logits.softmax(dim=-1)[token])
        ids.append(token)
    return probability


@pytest.fixture(scope="module")
def model():
    model = tiny_llama().eval()
    with torch.no_grad():  # a head that is sure of something
        model.get_output_embeddings().weight.mul_(4)
    return model


def likeliest(model, ids, count):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -1].topk(count).indices.tolist()


@pytest.fixture(scope="module")
def openings(model):
    """What begins the replies to the first context, one to three tokens long."""
    first, second, third = likeliest(model, CONTEXTS[0], 3)
    after, other = likeliest(model, [*CONTEXTS[0], second], 2)
    last = likeliest(model, [*CONTEXTS[0], second, other], 1)[0]
    return (first,), (second, after), (second, other, last), (third, 1)


@pytest.fixture(scope="module")
def expected(model, openings):
    with torch.no_grad():
        values = [sum(by_hand(model, context, opening) for opening in openings) for context in CONTEXTS]
    assert values[0] > 0.03 + by_hand(model, CONTEXTS[0], openings[0])
    return values


def mass(model, openings, exact_above=0.0, **settings):
    model_parts = model_parts_of(model)
    replier = Replier(model_parts.decoder, LiveHead(model_parts.causal_lm), **settings)
    return opening_mass(replier, CONTEXTS, RefusalCriterion(Openings(openings), exact_above))


@pytest.mark.parametrize("everywhere", [False, True])
def test_the_mass_is_the_sum_of_products(model, openings, expected, everywhere):
    # What is behind a beginning of less than a thousandth is left out.
    tolerance = 1e-6 if everywhere else 2e-3
    assert mass(model, openings, everywhere=everywhere).tolist() == pytest.approx(expected, rel=1e-4, abs=tolerance)


def test_below_the_bound_the_first_tokens_are_enough(model, openings, expected):
    calls = []
    handle = model.model.register_forward_hook(lambda *_: calls.append(1))
    bounds = mass(model, openings, exact_above=0.999)
    handle.remove()
    assert len(calls) == 1
    assert all(bound >= exact - 1e-6 for bound, exact in zip(bounds.tolist(), expected, strict=True))


def test_the_tree():
    openings = Openings(OPENINGS)
    assert openings.prefixes == ((), (5,), (6,), (5, 8))
    assert openings.after(()) == ([3], [5, 6])
    assert openings.after((5,)) == ([7], [8])
    assert openings.after((5, 8)) == ([9], [])


@pytest.mark.parametrize("sequences", [((),), ((1, 2), (1,))])
def test_an_opening_is_no_beginning_of_another(sequences):
    with pytest.raises(ValueError, match="beginning of another opening"):
        Openings(sequences)


def test_a_common_beginning_is_followed_and_a_telling_one_is_not():
    def distribution(**values):
        result = torch.zeros(8)
        for token, value in values.items():
            result[int(token[1:])] = value
        return result

    first = (distribution(t1=0.4, t2=0.5, t3=0.015), distribution(t1=0.3, t2=0.01, t4=0.6))
    deeper = {(1,): (distribution(t5=0.3, t6=0.05, t7=0.05), distribution(t5=0.01, t6=0.2, t7=0.2))}
    asked = []

    def follow(prefix):
        asked.append(prefix)
        return deeper.get(prefix, (torch.zeros(8), torch.zeros(8)))

    assert find_openings(first, follow) == ((2,), (3,), (1, 5))
    # 1 opens refusals and help alike; after it, 6 and 7 do too.
    assert asked == [(1,), (1, 7), (1, 6)]
    assert find_openings(first, follow, excluded_ids=[2, 5]) == ((3,),)
