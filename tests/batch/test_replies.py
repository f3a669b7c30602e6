"""One set of sampled replies: the same for everybody who reads them, whatever else is asked."""

from __future__ import annotations

import pytest
import torch

from pact_plugins.batch.replies import SampledReplies
from tests.helpers.tiny import tiny_llama

CONTEXTS = [[5, 6, 7], [8], [9, 10, 11, 12], [13, 14]]


class Tokens:
    """How many the model reads."""

    def __init__(self, model):
        self.count = 0
        model.model.register_forward_pre_hook(self._add, with_kwargs=True)

    def _add(self, _module, args, kwargs):
        self.count += (args[0] if args else kwargs["input_ids"]).numel()


def ask(replies, tokenizer, contexts, count, *, model=None, max_tokens=512):
    options = {"max_new_tokens": count, "max_tokens": max_tokens, "description": "", "progress": False}
    return replies.to(model or tiny_llama(), tokenizer, contexts, **options)


def test_a_reply_depends_on_its_context_alone(tokenizer):
    model, state = tiny_llama(), torch.get_rng_state()
    together = ask(SampledReplies(), tokenizer, CONTEXTS, 8, model=model)
    assert torch.equal(torch.get_rng_state(), state)
    assert ask(SampledReplies(), tokenizer, CONTEXTS, 8, max_tokens=1) == together
    assert ask(SampledReplies(), tokenizer, CONTEXTS[::-1], 8) == together[::-1]
    assert ask(SampledReplies(), tokenizer, CONTEXTS[2:3], 8) == together[2:3]
    assert len({*map(tuple, together)}) == len(CONTEXTS)


def test_more_tokens_go_on_from_those_that_are_known(tokenizer):
    replies, model = SampledReplies(), tiny_llama()
    short = ask(replies, tokenizer, CONTEXTS, 3, model=model)
    tokens = Tokens(model)
    longer = ask(replies, tokenizer, CONTEXTS[:2], 8, model=model)
    assert longer == ask(SampledReplies(), tokenizer, CONTEXTS[:2], 8)
    assert [reply[:3] for reply in longer] == short[:2]
    # Both contexts with what is known of them, padded, and four more steps.
    assert tokens.count == 2 * 6 + 2 * 4
    assert ask(replies, tokenizer, CONTEXTS, 3, model=model) == short
    assert tokens.count == 20


def test_equal_contexts_get_replies_of_their_own_as_probable_as_the_model_says(tokenizer):
    model, count = tiny_llama(), 4000
    found = torch.tensor(ask(SampledReplies(), tokenizer, [CONTEXTS[0]] * count, 1, model=model, max_tokens=10**6))
    with torch.no_grad():
        expected = model(input_ids=torch.tensor(CONTEXTS[:1])).logits[0, -1].softmax(dim=-1)
    frequency = torch.bincount(found[:, 0], minlength=len(expected)) / count
    assert bool(((frequency - expected).abs() < 5 * (expected * (1 - expected) / count).sqrt() + 1e-3).all())


@pytest.mark.parametrize("ends", [list(range(368)), list(range(0, 368, 2))], ids=["at once", "soon"])
def test_what_has_ended_is_not_asked_again(tokenizer, ends):
    replies, model = SampledReplies(), tiny_llama()
    model.generation_config.eos_token_id = ends
    tokens = Tokens(model)
    found = ask(replies, tokenizer, CONTEXTS, 64, model=model)
    # A batch ends with its longest reply; 16 tokens of contexts, padded, then one a row and step.
    assert tokens.count == 16 + 4 * (max(map(len, found)) - 1)
    assert max(map(len, found)) < 20
    assert all(reply[-1] in ends and not {*reply[:-1]} & {*ends} for reply in found)
    before = tokens.count
    assert ask(replies, tokenizer, CONTEXTS, 128, model=model) == found
    assert tokens.count == before
