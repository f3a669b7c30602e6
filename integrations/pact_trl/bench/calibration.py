"""Calibration against a naive one: batches and streaming sums, or one refusal at a time with whole tensors."""

from __future__ import annotations

import random
import time
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from pact_plugins.modeling import LiveHead
from pact_plugins.safety_tokens.calibration import TeacherForced, score_tokens, teacher_force
from pact_plugins.safety_tokens.scoring import BUILT_IN_SCORERS, direction_from_scores
from pact_trl.bench.cases import CALIBRATION, Case
from pact_trl.bench.subject import build_model

TOP_K, ROUNDS = 50, 3
_PROMPT, _LONGEST_RESPONSE = 32, 64


def measure_calibration(case: Case, *, refusals: int) -> dict[str, Any]:
    """Median ratio of throughputs over ``ROUNDS`` paired rounds, and the largest difference between the results."""
    aligned, base = build_model(case, seed=0).eval(), build_model(case, seed=1).eval()
    contexts, responses = _sequences(case, refusals)
    ratios, seconds = [], []
    difference = 0.0
    for _ in range(ROUNDS):
        started = time.perf_counter()
        ours = _batched(aligned, base, contexts, responses)
        middle = time.perf_counter()
        naive = _one_by_one(aligned, base, contexts, responses)
        seconds.append((middle - started, time.perf_counter() - middle))
        ratios.append(seconds[-1][1] / seconds[-1][0])
        difference = max(difference, float((ours - naive).abs().max()))
    return {
        "mode": CALIBRATION,
        **asdict(case),
        "refusals": refusals,
        "throughput_ratio": sorted(ratios)[len(ratios) // 2],
        "throughput_ratios": ratios,
        "largest_difference": difference,
        "seconds": sorted(pair[0] for pair in seconds)[len(seconds) // 2],
        "naive_seconds": sorted(pair[1] for pair in seconds)[len(seconds) // 2],
    }


def _sequences(case: Case, count: int) -> tuple[list[list[int]], list[list[int]]]:
    generator = random.Random(0)

    def ids(length: int) -> list[int]:
        return generator.choices(range(2, case.vocab_size), k=length)

    return [ids(_PROMPT) for _ in range(count)], [
        ids(generator.randint(_LONGEST_RESPONSE // 4, _LONGEST_RESPONSE)) for _ in range(count)
    ]


def _batched(aligned: Any, base: Any, contexts: list[list[int]], responses: list[list[int]]) -> Tensor:
    sequences = [TeacherForced(*pair) for pair in zip(contexts, responses, strict=True)]
    of_aligned, of_base = (
        teacher_force(
            model.get_decoder(), LiveHead(model), sequences, batch_size=16, description="reading", progress=False
        )
        for model in (aligned, base)
    )
    return score_tokens(of_aligned, of_base, BUILT_IN_SCORERS[0], top_k=TOP_K, progress=False).direction


@torch.no_grad()
def _one_by_one(aligned: Any, base: Any, contexts: list[list[int]], responses: list[list[int]]) -> Tensor:
    """One refusal at a time, logits of every position over the whole vocabulary, each model run with its own head."""
    scores, probabilities = [], []
    for context, response in zip(contexts, responses, strict=True):
        input_ids = torch.tensor([context + response], device=aligned.device)
        first = len(context) - 1
        aligned_probability = aligned(input_ids=input_ids).logits[0, first:-1].float().softmax(dim=-1)
        base_probability = base(input_ids=input_ids).logits[0, first:-1].float().softmax(dim=-1)
        scores.append((aligned_probability - base_probability).double().mean(dim=0))
        probabilities.append(aligned_probability.double().mean(dim=0))
    mean_score = torch.stack(scores).mean(dim=0).float()
    return direction_from_scores(mean_score, torch.stack(probabilities).mean(dim=0).float(), top_k=TOP_K)
