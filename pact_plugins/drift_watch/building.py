"""From settings to a drift watch: what it asks, and what the answer is before the first step."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pact_plugins.batch.openings import Openings
from pact_plugins.contracts import PartContext
from pact_plugins.drift_watch.measuring import DriftMeter
from pact_plugins.drift_watch.prompts import watched_prompts
from pact_plugins.drift_watch.watch import DriftWatch, start_in


def watch_drift(
    context: PartContext,
    openings: Openings,
    held: Collection[str],
    *,
    log_history: Sequence[Mapping[str, Any]],
    resumed: bool,
) -> DriftWatch:
    """The watch of a run that is about to begin.

    Args:
        context: with the settings of ``drift_watch``.
        openings: of refusals.
        held: prompts that the loss itself holds.
        log_history: what earlier segments of a resumed run have logged.
    """
    settings = context.settings
    meter = DriftMeter(context, watched_prompts(settings, held), openings, greedy=settings.greedy)
    start = start_in(log_history, meter.names)
    if resumed and (start is None or meter.has_replies):
        with context.aligned.running() as aligned:
            start = meter.begin(aligned, start)
    else:
        start = meter.begin(context.model_parts, start)
    return DriftWatch(settings, meter, context.model_parts, start)
