"""The training set's own requests that the reference would refuse: the harmful half of ``anchor: gated``."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from tqdm.auto import tqdm

from pact_plugins.batch.openings import RefusalCriterion, Replier, opening_mass
from pact_plugins.batch.sequences import ContextRules, response_spans
from pact_plugins.batch.training_data import TrainingData, training_data
from pact_plugins.distributed import gathered_text
from pact_plugins.errors import NoRowGateError
from pact_plugins.messages import announce, is_main_process
from pact_plugins.modeling import Anatomy, LiveHead, evaluation_mode, is_sharded
from pact_plugins.reference.online import INSEPARABLE
from pact_plugins.row_gate.weights import is_gated

_FIRST = 4  # rows that are looked at


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
    replier = Replier(running.decoder, LiveHead(running.causal_lm), everywhere)
    announce(f"asking the reference about {len(found)} requests of the training set")
    with evaluation_mode(running.decoder):
        scores = opening_mass(replier, found, criterion)
    gated = is_gated(scores, threshold=criterion.threshold).nonzero()[:, 0].tolist()
    own = [(contexts[found[index]], found[index]) for index in gated]
    merged = {tuple(ids): place for text in gathered_text(json.dumps(own)) for place, ids in json.loads(text)}
    return [list(ids) for ids in sorted(merged, key=lambda ids: (merged[ids], ids))]


def refuse_inseparable_rows(train_dataloader: Any, criterion: RefusalCriterion, rules: ContextRules) -> None:
    """Raise NoRowGateError where no opening has one token and the first rows cannot be taken apart to look further."""
    data, _ = training_data(train_dataloader)
    if data is not None and not criterion.openings.of_one_token().sequences and _are_inseparable(data, rules):
        raise NoRowGateError(f"row gate: no refusal opening has one token, and {INSEPARABLE}; preset: match needs none")


def _are_inseparable(data: TrainingData, rules: ContextRules) -> bool:
    # Somebody's collator may be unable to take single rows; that is nothing to stop for.
    with suppress(Exception):
        rows = [row for row in data.rows(rules, range(min(_FIRST, len(data)))) if row.inputs.get("labels") is not None]
        return bool(rows) and all(row.sequences is None for row in rows)
    return False
