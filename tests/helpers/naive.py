"""The whole training step once more: one sequence at a time, no padding, full logits, plain autograd."""

from __future__ import annotations

from typing import Any

import torch
from peft import get_peft_model
from torch import Tensor, nn

IGNORED = -100


def sequences(micro_batches: list[dict[str, Any]]) -> list[tuple[Tensor, Tensor]]:
    """(ids, labels) of each sequence, padding cut off, packed rows taken apart."""
    found = []
    for inputs in micro_batches:
        for row in range(inputs["input_ids"].size(0)):
            ids, labels = inputs["input_ids"][row], inputs["labels"][row]
            if inputs.get("attention_mask") is not None:
                real = inputs["attention_mask"][row].bool()
                found.append((ids[real], labels[real]))
                continue
            starts = (inputs["position_ids"][row] == 0).nonzero()[:, 0].tolist()
            for start, end in zip(starts, [*starts[1:], len(ids)], strict=True):
                found.append((ids[start:end], labels[start:end]))
    return found


def responses(labels: Tensor) -> list[list[int]]:
    """The columns of each contiguous run of labels, column 0 left out."""
    runs: list[list[int]] = []
    for column, label in enumerate(labels.tolist()):
        if label == IGNORED:
            continue
        if column and labels[column - 1] != IGNORED and runs:
            runs[-1].append(column)
        else:
            runs.append([column])
    return [kept for run in runs if (kept := [column for column in run if column])]


def indecision(logits: Tensor) -> float:
    mass, count = 0.0, 0
    for probability in torch.softmax(logits, -1).sort(descending=True).values:
        mass, count = mass + probability, count + 1
        if mass >= 0.9:
            break
    return count / len(logits)


def divergence(
    z: Tensor, full: Tensor, prompt_free: Tensor | None, position: int, weights: Tensor, objective: str
) -> Tensor:
    """One token's term at temperature 2 with the published gate."""
    if objective in ("match", "full_kl"):
        target = torch.softmax(full / 2, -1)
    else:
        assert prompt_free is not None
        decay = 1.0 if position < 8 else float(torch.exp(torch.tensor(-(position - 8) / 8)))
        with torch.no_grad():
            difference = indecision(z) - indecision(prompt_free)
            gate = float(torch.sigmoid(torch.tensor(2.0 * difference))) * decay
        mixed = (1 - gate) * full + gate * prompt_free
        if objective == "published_positive":
            keep = weights > 0
            z, mixed, weights = z[keep], mixed[keep], weights[keep]
        target = torch.softmax(mixed / 2, -1) * weights
        target = target / target.sum()
    return 4 * (torch.xlogy(target, target) - target * torch.log_softmax(z / 2, -1)).sum()


def step(
    trained: Any,
    reference: Any,
    micro_batches: list[dict[str, Any]],
    *,
    objective: str,
    weight: float,
    token_ids: Tensor,
    weights: Tensor,
    header: list[int],
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """(mean cross-entropy, mean term, gradient of every trained parameter)."""
    everything = sequences(micro_batches)
    cross_entropy, term, count = torch.zeros(()), torch.zeros(()), 0
    for ids, labels in everything:
        logits = trained(input_ids=ids[None]).logits[0].float()
        with torch.no_grad():
            full = reference(input_ids=ids[None]).logits[0].float()
        for columns in responses(labels):
            prompt_free = None
            if objective.startswith("published"):
                context = torch.tensor([header + ids[columns].tolist()])
                with torch.no_grad():
                    prompt_free = reference(input_ids=context).logits[0].float()[len(header) - 1 :]
            first = columns[0] if columns[0] > 1 or labels[0] == IGNORED else 0
            for place, column in enumerate(columns):
                count += 1
                cross_entropy = cross_entropy - torch.log_softmax(logits[column - 1], -1)[ids[column]]
                select = slice(None) if objective == "full_kl" else token_ids
                term = term + divergence(
                    logits[column - 1][select],
                    full[column - 1][select],
                    None if prompt_free is None else prompt_free[place][select],
                    column - first,
                    weights,
                    objective,
                )
    cross_entropy, term = cross_entropy / count, term / count
    trained.zero_grad()
    (cross_entropy + weight * term).backward()
    gradients = {name: p.grad.clone() for name, p in trained.named_parameters() if p.grad is not None}
    return cross_entropy.detach(), term.detach(), gradients


def rebuilt(model: nn.Module, adapter: Any, weights: dict[str, Tensor]) -> Any:
    """A fresh model with the trained weights put in by name: nothing of the trainer's patches."""
    trained: Any = model if adapter is None else get_peft_model(model, adapter)  # type: ignore[arg-type]
    own = dict(trained.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)
    return trained.eval()
