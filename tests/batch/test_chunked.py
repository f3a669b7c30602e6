"""Losses over the whole vocabulary in chunks."""

import pytest
import torch
from torch import nn

from pact_plugins.batch.chunked import reference_divergence, token_cross_entropy


class Head:
    """Counts the positions of each projection."""

    def __init__(self, rows):
        self.rows, self.sizes = rows, []

    def logits(self, hidden_states, token_ids):
        self.sizes.append(len(hidden_states))
        return hidden_states @ self.rows.T


@pytest.fixture
def head():
    torch.manual_seed(0)
    return Head(torch.randn(50, 8, requires_grad=True))


def gradients(loss, *tensors):
    return torch.autograd.grad(loss, tensors)


@pytest.mark.parametrize("chunk", [3, 7, 100])
def test_cross_entropy_and_its_gradients_are_those_of_torch(head, chunk):
    states, ids = torch.randn(7, 8, requires_grad=True), torch.randint(50, (7,))
    found = token_cross_entropy(head, states, ids, chunk=chunk)
    expected = nn.functional.cross_entropy(states @ head.rows.T, ids, reduction="none")
    torch.testing.assert_close(found, expected)
    weights = torch.rand(7)
    for one, other in zip(
        gradients((weights * found).sum(), states, head.rows),
        gradients((weights * expected).sum(), states, head.rows),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    assert max(head.sizes) <= chunk


@pytest.mark.parametrize("chunk", [3, 7, 100])
def test_divergence_and_its_gradients_are_those_of_torch(head, chunk):
    states, reference = torch.randn(7, 8, requires_grad=True), torch.randn(7, 8)
    reference_rows = torch.randn(50, 8)
    found = reference_divergence(head, lambda s: s @ reference_rows.T, states, reference, chunk=chunk)
    expected = nn.functional.kl_div(
        torch.log_softmax(states @ head.rows.T, -1),
        torch.log_softmax(reference @ reference_rows.T, -1),
        log_target=True,
        reduction="none",
    ).sum(-1)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        gradients(found.mean(), states, head.rows), gradients(expected.mean(), states, head.rows), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_no_divergence_and_no_gradient_at_all_without_drift(head):
    states = torch.randn(5, 8, requires_grad=True)
    found = reference_divergence(head, lambda s: s @ head.rows.T, states, states.detach(), chunk=2)
    (gradient,) = gradients(found.sum(), states)
    assert not gradient.any()
    assert float(found.abs().max()) < 1e-6


def test_nothing_wide_is_kept_for_the_backward_pass(head):
    states, ids = torch.randn(40, 8, requires_grad=True), torch.randint(50, (40,))
    widths = []

    def note(tensor):
        widths.append(tensor.shape[-1] if tensor.dim() > 1 else 0)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = token_cross_entropy(head, states, ids, chunk=10).sum()
        loss = loss + reference_divergence(head, lambda s: s @ head.rows.T, states, states.detach(), chunk=10).sum()
    assert 50 not in widths


def test_no_position_at_all(head):
    states = torch.randn(0, 8, requires_grad=True)
    found = token_cross_entropy(head, states, torch.zeros(0, dtype=torch.long))
    assert found.shape == (0,)
    assert head.sizes == [0]
    gradients(found.sum(), states)
