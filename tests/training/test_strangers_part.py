"""A stranger's part that asks for everything gets what it asked for, alone and beside each part that ships."""

from __future__ import annotations

import sys

import pytest
import torch

from pact_plugins import PACTConfig, plugins
from pact_plugins.batch.openings import Openings, RefusalCriterion, Replier, opening_mass
from pact_plugins.modeling import LiveHead, assistant_header_ids
from pact_plugins.training.preparation import Run, prepare
from tests.helpers.guarded import Batch, tokens_with_openings
from tests.helpers.packages import write_installed
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

PART = """
import torch
from pact_plugins.contracts import LossTerm, Needs, Part, PartSpec
from pact_plugins.hookspecs import hookimpl
from pact_plugins.settings import Block

SEEN = []


class GreedySettings(Block):
    weight: float = 1.0
    first: int = 7


class Greedy(Part):
    def __init__(self, context):
        self.coefficient, self.token_ids = context.settings.weight, context.token_ids

    def measured(self, batch):
        return torch.tensor([0, 2])

    def loss_term(self, batch, answer):
        SEEN.append((self.token_ids, answer))
        return LossTerm(batch.states.square().mean(dim=-1))


def needs(settings):
    # In no order, and none of the safety tokens.
    chosen = torch.tensor([settings.first + 2, settings.first])
    return Needs(logits=lambda tokens: chosen, prompt_free=True, measured=True, refusal_mass=True)


class Whole(Greedy):
    pass


@hookimpl
def register_parts(register):
    register(PartSpec("greedy", GreedySettings, Greedy, needs))
    register(PartSpec("whole", GreedySettings, Whole, lambda _: Needs(whole_vocabulary=True)))
"""
BATCH = Batch.random(rows=3)
BESIDE = [
    {},
    {"term": {"objective": "published"}},
    {"term": {"objective": "full_kl"}},
    {"row_gate": {"mode": "hard", "threshold": 0.9}},
    {"anchor": {"replies": 4, "max_new_tokens": 4}},
    {"whole": {"first": 3}},
]


@torch.no_grad()
def expected(token_ids):
    """Of the untouched model, a sequence at a time: logits, the same without the prompt, masses, refusal masses."""
    model, header = tiny_llama(), assistant_header_ids(tiny_tokenizer())
    full, alone, contexts = [], [], []
    for ids, first in BATCH.sequences():
        full.append(model(input_ids=ids[None]).logits[0, first - 1 : -1])
        answer = ids[first:].tolist()
        alone.append(model(input_ids=torch.tensor([[*header, *answer]])).logits[0, len(header) - 1 : -1])
        contexts.append(ids[:first].tolist())
    logits = torch.cat(full)
    mass = logits[[0, 2]].softmax(dim=-1)[:, token_ids].sum(dim=-1)
    criterion = RefusalCriterion(Openings(tokens_with_openings().refusal_openings), 0.0)
    refusal_mass = opening_mass(Replier(model.model, LiveHead(model)), contexts, criterion)
    return logits[:, token_ids], torch.cat(alone)[:, token_ids], mass, refusal_mass, logits


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """The package, installed; the module that its part notes its answers in."""
    monkeypatch.syspath_prepend(str(write_installed(tmp_path, PART)))
    plugins.get_plugin_manager.cache_clear()
    plugins.get_plugin_manager()
    yield sys.modules["stranger"]
    plugins.get_plugin_manager.cache_clear()
    del sys.modules["stranger"]


@pytest.mark.parametrize("beside", BESIDE, ids=["alone", *(next(iter(one)) for one in BESIDE[1:])])
def test_it_gets_what_it_asked_for(beside, stranger):
    config = PACTConfig(preset="off", greedy={"first": 5}, **beside)
    model, tokens = tiny_llama(), tokens_with_openings()
    preparation = prepare(model, tiny_tokenizer(), config, Run(safety_tokens=tokens))
    preparation.attachment.attach_to_outputs()
    model.train()
    model(**BATCH.inputs).loss.backward()
    preparation.attachment.receipts.settle(loss_scale=1.0, exact=True, suspects="")
    preparation.attachment.detach()
    answers = {tuple(() if ids is None else ids.tolist()): answer for ids, answer in stranger.SEEN}
    found = answers[(7, 5)]
    *wanted, everything = expected([7, 5])
    for name, value in zip(("logits", "prompt_free", "mass", "refusal_mass"), wanted, strict=True):
        torch.testing.assert_close(getattr(found, name), value, rtol=1e-4, atol=1e-5, msg=name)
    if "whole" in beside:
        other = answers[()]
        torch.testing.assert_close(other.logits, everything, rtol=1e-4, atol=1e-5)
        assert (other.prompt_free, other.mass, other.refusal_mass) == (None, None, None)
