from __future__ import annotations

import pytest
import torch

from pact_lab.tiny_world.model import new_model
from pact_lab.tiny_world.training import TokenizedExample, _batches, _schedule, train


@pytest.fixture
def model(tokenizer):
    torch.manual_seed(0)
    return new_model(tokenizer)


def run(model, examples, **options):
    seen = []
    settings = {"learning_rate": 3e-3, "batch_size": 4, "seed": 0, **options}
    train(model, examples, on_step=lambda count, loss: seen.append((count, loss)), **settings)
    return seen


def test_every_document_is_seen_once_and_the_loss_falls(model):
    examples = [TokenizedExample([300, 301, 302, 303 + i % 3, 1], 0) for i in range(150)]
    steps = run(model, examples)
    assert sum(count for count, _ in steps) == 150
    assert steps[-1][1] < 0.3 * steps[0][1]
    assert not model.training


def test_context_and_padding_bring_no_loss(model):
    """The loss is the mean over the learnt tokens alone, computed here one document at a time."""
    examples = [
        TokenizedExample([5, 6, 7, 8, 9, 1], 4),
        TokenizedExample([10, 11, 1], 2),
        TokenizedExample([12, 13], 0),
    ]
    losses = []
    with torch.no_grad():
        for example in examples:
            log_probs = model(input_ids=torch.tensor([example.ids])).logits[0].log_softmax(-1)
            learnt = range(max(1, example.unlearnt), len(example.ids))
            losses += [-log_probs[position - 1, example.ids[position]] for position in learnt]
    [(count, loss)] = run(model, examples)
    assert count == 3
    assert loss == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


def test_schedule():
    rates = [_schedule(step, 200) for step in range(200)]
    assert rates[0] < 0.1
    assert max(rates) > 0.95
    assert rates.index(max(rates)) < 25
    assert rates[-1] == pytest.approx(0.02)


def test_batches_cover_all_indices_once():
    import random

    lengths = [index % 17 for index in range(1000)]
    batches = _batches(lengths, 16, random.Random(0))
    assert sorted(index for batch in batches for index in batch) == list(range(1000))
    spread = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in batches]
    assert sum(spread) / len(spread) < 5
