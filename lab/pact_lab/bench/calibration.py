"""Calibration against a naive one: batches and streaming sums, or one answer at a time with whole tensors."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from pact_lab.bench.cases import CALIBRATION, Case
from pact_lab.bench.subject import build_model, load_tokenizer
from pact_lab.bench.turns import synchronize
from pact_plugins.batch.teacher_forcing import TeacherForced, teacher_force
from pact_plugins.modeling import LiveHead
from pact_plugins.modeling.generation import continue_ids
from pact_plugins.safety_tokens.calibration import score_tokens
from pact_plugins.safety_tokens.scorers import BUILT_IN_SCORERS
from pact_plugins.safety_tokens.scoring import direction_from_scores

TOP_K, ROUNDS = 50, 3
_PROMPT, _LONGEST_RESPONSE, _BATCH = 32, 64, 64


@dataclass(frozen=True)
class Subject:
    """Two models, prompts, and how long the answer to each is: a quarter of the longest, at least."""

    aligned: Any
    base: Any
    tokenizer: Any
    contexts: list[list[int]]
    lengths: list[int]


def measure_calibration(case: Case, *, refusals: int) -> dict[str, Any]:
    """Medians over ``ROUNDS`` paired rounds, in float32, and the largest difference between the results.

    ``throughput_ratio`` is of the whole (the aligned model answers, then both models read the answers and every token
    is scored), ``scoring_ratio`` of the second half alone. Both ways score the same answers.
    """
    subject = _subject(case, refusals)
    _score_batched(subject, _answer_batched(subject))  # the first products of a size take longer
    rounds = [_round(subject) for _ in range(ROUNDS)]
    ratios = [row["naive_seconds"] / row["seconds"] for row in rounds]
    difference = max(row.pop("difference") for row in rounds)
    return {
        "mode": CALIBRATION,
        **asdict(case),
        "refusals": refusals,
        "throughput_ratio": median(ratios),
        "throughput_ratios": ratios,
        "scoring_ratio": median(row["naive_scoring_seconds"] / row["scoring_seconds"] for row in rounds),
        "largest_difference": difference,
        **{key: median(row[key] for row in rounds) for key in rounds[0]},
    }


def _round(subject: Subject) -> dict[str, float]:
    answering, answers = _timed(_answer_batched, subject)
    scoring, ours = _timed(_score_batched, subject, answers)
    naive_answering, _ = _timed(_answer_one_by_one, subject)
    naive_scoring, naive = _timed(_score_one_by_one, subject, answers)
    return {
        "seconds": answering + scoring,
        "scoring_seconds": scoring,
        "naive_seconds": naive_answering + naive_scoring,
        "naive_scoring_seconds": naive_scoring,
        "difference": float((ours - naive).abs().max()),
    }


def _subject(case: Case, count: int) -> Subject:
    generator = random.Random(0)
    # A direction is compared to 1e-5, which half precision does not resolve.
    aligned, base = (build_model(case, seed=seed).float().eval() for seed in (0, 1))
    contexts = [generator.choices(range(2, case.vocab_size), k=_PROMPT) for _ in range(count)]
    lengths = [generator.randint(_LONGEST_RESPONSE // 4, _LONGEST_RESPONSE) for _ in range(count)]
    return Subject(aligned, base, load_tokenizer(), contexts, lengths)


def _answer_batched(subject: Subject) -> list[list[int]]:
    """A batch ends with its longest answer; a random model does not end by itself, so the others are cut."""
    answers = _answer(subject, subject.contexts, _LONGEST_RESPONSE)
    return [answer[:length] for answer, length in zip(answers, subject.lengths, strict=True)]


def _answer_one_by_one(subject: Subject) -> list[list[int]]:
    pairs = zip(subject.contexts, subject.lengths, strict=True)
    return [_answer(subject, [context], length)[0] for context, length in pairs]


def _answer(subject: Subject, contexts: list[list[int]], length: int) -> list[list[int]]:
    return continue_ids(
        subject.aligned, subject.tokenizer, contexts, max_new_tokens=length, batch_size=_BATCH, progress=False
    )


def _score_batched(subject: Subject, answers: list[list[int]]) -> Tensor:
    pairs = zip(subject.contexts, answers, strict=True)
    sequences = [TeacherForced(context, answer) for context, answer in pairs]
    of_aligned, of_base = (
        teacher_force(
            model.get_decoder(), LiveHead(model), sequences, batch_size=_BATCH, description="reading", progress=False
        )
        for model in (subject.aligned, subject.base)
    )
    device = subject.aligned.device
    result = score_tokens(of_aligned, of_base, BUILT_IN_SCORERS[0], top_k=TOP_K, device=device, progress=False)
    return result.direction


@torch.no_grad()
def _score_one_by_one(subject: Subject, answers: list[list[int]]) -> Tensor:
    """One answer at a time, logits of every position over the whole vocabulary, each model run with its own head."""
    scores, probabilities = [], []
    for context, answer in zip(subject.contexts, answers, strict=True):
        input_ids = torch.tensor([context + answer], device=subject.aligned.device)
        first = len(context) - 1
        aligned_probability = subject.aligned(input_ids=input_ids).logits[0, first:-1].float().softmax(dim=-1)
        base_probability = subject.base(input_ids=input_ids).logits[0, first:-1].float().softmax(dim=-1)
        scores.append((aligned_probability - base_probability).double().mean(dim=0))
        probabilities.append(aligned_probability.double().mean(dim=0))
    mean_score = torch.stack(scores).mean(dim=0).float()
    return direction_from_scores(mean_score, torch.stack(probabilities).mean(dim=0).float(), top_k=TOP_K)


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Seconds on the wall clock, with the device's work, and the result."""
    synchronize()
    started = time.perf_counter()
    result = function(*arguments)
    synchronize()
    return time.perf_counter() - started, result
