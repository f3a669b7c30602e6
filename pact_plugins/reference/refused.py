"""The training set's own requests that the reference would refuse."""

from __future__ import annotations

import json

from tqdm.auto import tqdm

from pact_plugins.batch.openings import RefusalCriterion, Replier, opening_mass
from pact_plugins.batch.sequences import ContextRules, response_spans
from pact_plugins.batch.training_data import TrainingData
from pact_plugins.distributed import gathered_text
from pact_plugins.messages import announce, is_main_process
from pact_plugins.modeling import LiveHead, ModelParts, evaluation_mode, is_sharded


def refused_contexts(running: ModelParts, data: TrainingData, criterion: RefusalCriterion) -> list[list[int]]:
    """The distinct contexts of responses whose requests the aligned model would refuse, as token ids.

    As they are put to it, in the order of the training set.

    One forward pass of the reference over the contexts alone. Ranks share the work, unless parameters are sharded, so
    that every rank has to run everything. Every rank must call it.

    Args:
        running: the aligned model.
        criterion: what counts as a refusal; above its ``exact_above`` the model would refuse.
    """
    everywhere = any(map(is_sharded, running.decoder.parameters()))
    indices = range(len(data)) if everywhere else data.share
    contexts: dict[tuple[int, ...], int] = {}
    rows = tqdm(
        data.rows(ContextRules.of(running), indices), desc="reading the training set", disable=not is_main_process()
    )
    for row in rows:
        for sequence in row.sequences or ():
            for begin, _ in response_spans(sequence.labels):
                contexts.setdefault(tuple(sequence.input_ids[:begin].tolist()), row.index)
    if criterion.question is not None:
        contexts = {tuple(criterion.question(ids)): index for ids, index in reversed(contexts.items())}
    found = list(contexts)
    replier = Replier(running.decoder, LiveHead(running.causal_lm), everywhere)
    announce(f"asking the reference about {len(found)} requests of the training set")
    with evaluation_mode(running.decoder):
        scores = opening_mass(replier, found, criterion)
    refused = (scores > criterion.exact_above).nonzero()[:, 0].tolist()
    own = [(contexts[found[index]], found[index]) for index in refused]
    merged = {tuple(ids): place for text in gathered_text(json.dumps(own)) for place, ids in json.loads(text)}
    return [list(ids) for ids in sorted(merged, key=lambda ids: (merged[ids], ids))]
