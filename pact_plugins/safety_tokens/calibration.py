"""Calibration: teacher-force refusals under two contexts and score every token of the vocabulary.

One decoder is in memory at a time: what is kept of the first model are the hidden states at the response positions and
its output embedding. Sums over the vocabulary are streamed; no (samples, positions, V) tensor exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pact_plugins.errors import SafetyTokensError
from pact_plugins.modeling import OutputHead, evaluation_mode
from pact_plugins.safety_tokens.scoring import TokenScorer, direction_from_scores

# Response positions that are projected on the whole vocabulary at once, those of one refusal or of several.
_POSITIONS = 256


@dataclass(frozen=True)
class TeacherForced:
    """A context and the response that is forced after it, as token ids."""

    context_ids: Sequence[int]
    response_ids: Sequence[int]


@dataclass(frozen=True)
class Forced:
    """One model's view of the responses.

    Attributes:
        hidden_states: per response (R_i, hidden), the states that predict its tokens, on the CPU.
        head: maps them to logits.
    """

    hidden_states: list[Tensor]
    head: OutputHead


@torch.no_grad()
def teacher_force(
    decoder: nn.Module,
    head: OutputHead,
    sequences: Sequence[TeacherForced],
    *,
    batch_size: int,
    description: str,
    progress: bool = True,
) -> Forced:
    """Run ``sequences`` through ``decoder`` in batches of similar length and keep the states that predict responses.

    Raises:
        SafetyTokensError: no sequence has a response.
    """
    if not any(len(sequence.response_ids) for sequence in sequences):
        raise SafetyTokensError("the set of refusals is empty: there is no response token to learn from")
    states: list[Tensor] = [torch.empty(0)] * len(sequences)
    for index, hidden in forced_states(
        decoder, sequences, batch_size=batch_size, description=description, progress=progress
    ):
        states[index] = hidden.cpu()
    return Forced(states, head)


@torch.no_grad()
def forced_states(
    decoder: nn.Module,
    sequences: Sequence[TeacherForced],
    *,
    batch_size: int,
    description: str,
    progress: bool = True,
) -> Iterator[tuple[int, Tensor]]:
    """Yield, in batches of similar length, a sequence's index and the (R, hidden) states that predict its response.

    They are views of the batch's states, on the decoder's device: who keeps them copies them.
    """
    device = next(decoder.parameters()).device
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i].context_ids) + len(sequences[i].response_ids))
    with (
        evaluation_mode(decoder),
        tqdm(total=len(sequences), desc=description, disable=not progress, leave=False) as bar,
    ):
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            input_ids, attention_mask = right_padded([sequences[index] for index in batch], device)
            hidden = decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)[0]
            for row, index in enumerate(batch):
                first = len(sequences[index].context_ids) - 1
                count = len(sequences[index].response_ids)
                yield index, hidden[row, first : first + count]
            bar.update(len(batch))


def right_padded(sequences: Sequence[TeacherForced], device: torch.device) -> tuple[Tensor, Tensor]:
    """``input_ids`` and ``attention_mask`` of context and response without its last token: (B, longest) int64 each."""
    # The last response token predicts nothing that is scored; padding with any id is masked.
    rows = [[*sequence.context_ids, *sequence.response_ids][:-1] for sequence in sequences]
    width = max(map(len, rows))
    input_ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
    attention_mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    return input_ids, attention_mask


@dataclass(frozen=True)
class Calibration:
    """The (V,) results: signed direction, and the mean probabilities under both views."""

    direction: Tensor
    aligned_probability: Tensor
    contrast_probability: Tensor


@torch.no_grad()
def score_tokens(
    aligned: Forced,
    contrast: Forced,
    scorer: TokenScorer,
    *,
    top_k: int,
    included_ids: Iterable[int] = (),
    excluded_ids: Iterable[int] = (),
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Calibration:
    """Score every token: mean over responses of the mean over positions, in streaming sums of size V.

    Args:
        aligned, contrast: views of the same responses, in the same order.
        scorer, top_k, included_ids, excluded_ids: see ``safety_direction`` and ``direction_from_scores``.
        device: where the projections run.

    Raises:
        SafetyTokensError: the two views have vocabularies of different size.
    """
    positions, weights = _positions(aligned.hidden_states)
    contrast_positions = _positions(contrast.hidden_states)[0]
    sums: Tensor | float = 0.0
    chunks = range(0, len(positions), _POSITIONS)
    for start in tqdm(chunks, desc="scoring tokens", disable=not progress, leave=False):
        part = slice(start, start + _POSITIONS)
        sums += _weighted_sums(
            aligned.head.logits(positions[part].to(device), None),
            contrast.head.logits(contrast_positions[part].to(device), None),
            weights[part].to(device),
            scorer,
        )
    assert isinstance(sums, Tensor)
    aligned_mean, contrast_mean = sums[0], sums[1]
    scores = sums[2] if scorer.of_means is None else scorer.of_means(aligned_mean, contrast_mean)
    direction = direction_from_scores(
        scores.float(), aligned_mean, top_k=top_k, included_ids=included_ids, excluded_ids=excluded_ids
    )
    return Calibration(direction, aligned_mean.float(), contrast_mean.float())


def _positions(hidden_states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """All (N, hidden) states and their (N,) weights in the mean over responses of the mean over positions."""
    filled = [states for states in hidden_states if len(states)]
    weights = [torch.full((len(states),), 1.0 / (len(states) * len(filled))) for states in filled]
    return torch.cat(filled), torch.cat(weights)


def _weighted_sums(aligned_logits: Tensor, contrast_logits: Tensor, weights: Tensor, scorer: TokenScorer) -> Tensor:
    """Weighted sums over (N, V) positions, (2 or 3, V) float64: aligned and contrast probabilities, and scores where
    the probabilities do not determine them."""
    if aligned_logits.shape != contrast_logits.shape:
        raise SafetyTokensError(
            f"the aligned model has {aligned_logits.size(-1)} output tokens and the base model "
            f"{contrast_logits.size(-1)}: they do not share a vocabulary"
        )
    views = (aligned_logits, contrast_logits)
    if scorer.of_means is not None:
        return torch.stack([weights @ torch.softmax(logits, dim=-1) for logits in views]).double()
    log_probs = [torch.log_softmax(logits, dim=-1) for logits in views]
    scores = weights @ scorer.contribution(*log_probs)
    return torch.stack([*(weights @ values.exp_() for values in log_probs), scores]).double()
