"""Whether the rows that will be trained on hold requests to be judged, looked at before the first step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pact_plugins.batch.openings import Openings
from pact_plugins.batch.responses import find_responses, without_prompt
from pact_plugins.batch.sequences import ContextRules
from pact_plugins.batch.training_data import TrainingData, TrainingRow, training_data
from pact_plugins.contracts import ReferenceContext
from pact_plugins.distributed import summed
from pact_plugins.errors import PartUnavailableError
from pact_plugins.reference.online import INSEPARABLE
from pact_plugins.training.asking import Asked

_FIRST = 4  # rows that are looked at


def check_requests(context: ReferenceContext, asked: Asked) -> None:
    """Look at the first rows, where a part asks what the reference would refuse. Every rank must call it.

    Raises:
        PartUnavailableError: there is no request in them; or no opening has one token and they cannot be taken apart
            to look further.
    """
    part = next((name for name, needs in asked.needs.items() if needs.refusal_mass), None)
    if part is None or asked.tokens is None:
        return
    openings, rules = Openings(asked.tokens.refusal_openings), ContextRules.of(context.model_parts)
    data, _ = training_data(context.train_dataloader, context.turns)
    if data is not None and not openings.of_one_token().sequences and _all(data, rules, _is_inseparable):
        raise PartUnavailableError(f"no refusal opening has one token, and {INSEPARABLE}", part)
    # What one rank alone can see of the rows is to hold for all.
    if summed([float(data is not None and _all(data, rules, _has_no_prompt))])[0]:
        raise PartUnavailableError(
            "the rows hold no request to be judged: all their tokens are trained on, and no turn of the assistant's is "
            "found in them. Give conversations (`messages`, or `prompt` and `completion`)",
            part,
        )


def _all(data: TrainingData, rules: ContextRules, is_so: Callable[[TrainingRow], bool]) -> bool:
    """Of the first rows that have labels; False where there are none."""
    # Somebody's collator may be unable to take single rows; that is nothing to stop for.
    with suppress(Exception):
        rows = [row for row in data.rows(rules, range(min(_FIRST, len(data)))) if row.inputs.get("labels") is not None]
        return bool(rows) and all(map(is_so, rows))
    return False


def _is_inseparable(row: TrainingRow) -> bool:
    return row.sequences is None


def _has_no_prompt(row: TrainingRow) -> bool:
    positions = row.inputs.get("position_ids")
    responses = None if row.labels is None else find_responses(row.labels, positions)
    return responses is not None and bool(responses.count) and bool(without_prompt(responses, positions).all())
