"""The training set's own requests that the reference would refuse: the harmful half of ``anchor: gated``."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from pact_plugins.batch.sequences import ContextRules, group_by_length
from pact_plugins.batch.teacher_forcing import TeacherForced, right_padded
from pact_plugins.batch.training_data import TrainingData
from pact_plugins.distributed import gathered_text
from pact_plugins.messages import is_main_process
from pact_plugins.modeling import Anatomy, LiveHead, evaluation_mode, is_sharded
from pact_plugins.reference.online import safety_mass
from pact_plugins.row_gate.criterion import RefusalCriterion
from pact_plugins.row_gate.record import response_spans
from pact_plugins.row_gate.weights import is_gated

_TOKENS_AT_A_TIME = 8192


def gated_contexts(
    running: Anatomy, data: TrainingData, criterion: RefusalCriterion, *, rules: ContextRules
) -> list[list[int]]:
    """The distinct contexts of gated responses, as token ids, in the order of the training set.

    One forward pass of the reference over the contexts alone. Ranks share the work, unless parameters are sharded, so
    that every rank has to run everything. Every rank must call it.

    Args:
        running: the aligned model.
        criterion: what counts as a refusal.
    """
    everywhere = any(map(is_sharded, running.decoder.parameters()))
    indices = range(len(data)) if everywhere else data.share
    contexts: dict[tuple[int, ...], int] = {}
    rows = tqdm(data.rows(rules, indices), desc="reading the training set", disable=not is_main_process())
    for row in rows:
        for sequence in row.sequences or ():
            for begin, _ in response_spans(sequence.labels):
                contexts.setdefault(tuple(sequence.input_ids[:begin].tolist()), row.index)
    found = list(contexts)
    scores = refusal_masses(running, found, criterion.opener_ids)
    gated = is_gated(scores, threshold=criterion.threshold).nonzero()[:, 0].tolist()
    own = [(contexts[found[index]], found[index]) for index in gated]
    merged = {tuple(ids): place for text in gathered_text(json.dumps(own)) for place, ids in json.loads(text)}
    return [list(ids) for ids in sorted(merged, key=lambda ids: (merged[ids], ids))]


@torch.no_grad()
def refusal_masses(running: Anatomy, contexts: Sequence[Sequence[int]], opener_ids: Tensor) -> Tensor:
    """(number of contexts,) float32 on the CPU: the probability that the reply begins with a refusal opener."""
    device = next(running.decoder.parameters()).device
    head = LiveHead(running.causal_lm)
    scores = torch.zeros(len(contexts))
    groups = group_by_length([len(context) for context in contexts], max_tokens=_TOKENS_AT_A_TIME)
    with (
        evaluation_mode(running.decoder),
        tqdm(total=len(contexts), desc="asking the reference", disable=not is_main_process(), leave=False) as bar,
    ):
        for group in groups:
            # What would follow the context does not matter: its last state is what is wanted.
            batch = [TeacherForced(contexts[index], [0]) for index in group]
            input_ids, attention_mask = right_padded(batch, device)
            hidden = running.decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)[0]
            last = torch.tensor([len(contexts[index]) - 1 for index in group], device=hidden.device)
            mass = safety_mass(head, hidden[torch.arange(len(group), device=hidden.device), last], opener_ids)
            assert mass is not None
            scores[group] = mass.cpu()
            bar.update(len(group))
    return scores
