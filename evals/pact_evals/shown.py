"""After lm-eval's own table, which shows 150 of 150 as 1.000 ± 0.000: the figures as every report of ours has them."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from functools import cache
from typing import Any

from pact_evals.harness.evaluate import Metric, Sample
from pact_evals.runs.store import ModelResult, TaskResult

_THIS_MODEL = "this model"


def shown_again(task: Any, doc: Mapping[str, Any], values: Mapping[str, float]) -> None:
    """Note a row's metrics; the table is printed when the command ends."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return  # each process has a part of the rows
    name = task.config.task
    if name not in _tasks():
        directions = task.higher_is_better()
        metrics = {metric: Metric(0.0, None, bool(better)) for metric, better in directions.items()}
        _tasks()[name] = TaskResult(metrics, [], None)
    row = Sample(str(doc.get("id", len(_tasks()[name].samples))), "", "", None, dict(values))
    _tasks()[name].samples.append(row)


@cache
def _tasks() -> dict[str, TaskResult]:
    atexit.register(_print)
    return {}


def _print() -> None:
    from pact_evals.terminal import print_metrics

    print_metrics([ModelResult(_THIS_MODEL, {}, _tasks())])
