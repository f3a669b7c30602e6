"""Whether a framework trained on the very tokens and labels that TRL makes of the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pact_lab.finetuning.training import Training, make_trainer
from pact_lab.finetuning.tuning import Tuning
from pact_plugins.contracts import Row
from pact_plugins.errors import ConfigurationError

Tokens = Counter[tuple[tuple[int, ...], tuple[int, ...]]]


def of_trl(model: Any, tokenizer: Any, rows: Sequence[Row], tuning: Tuning, folder: Path) -> Tokens:
    """What the comparison's trainer makes of ``rows``; nothing is trained."""
    return _counted(make_trainer(model, tokenizer, Training(rows, None, tuning, 0, folder), []).train_dataset)


def of_framework(prepared: Path) -> Tokens:
    """What a framework left in ``prepared``, as the data set or one folder above it.

    Raises:
        ConfigurationError: it left nothing.
    """
    from datasets import DatasetDict, load_from_disk

    marks = [mark for name in ("dataset_dict.json", "state.json") for mark in sorted(prepared.rglob(name))]
    if not marks:
        raise ConfigurationError(f"{prepared} holds no tokens; start the training in its folder again")
    found = load_from_disk(str(marks[0].parent))
    return _counted(found["train"] if isinstance(found, DatasetDict) else found)


def _counted(rows: Iterable[Mapping[str, Any]]) -> Tokens:
    return Counter((tuple(row["input_ids"]), tuple(row["labels"])) for row in rows)
