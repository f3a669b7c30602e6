"""``pact_evaluation.json``: what was measured of a model, beside it, for its card.

``pact card --evaluation`` writes it from a run of ``pact eval``. It belongs to one ``pact.json``: after another
training in the same folder it counts for nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pact_plugins.errors import DataError
from pact_plugins.files import parse_json, write_json
from pact_plugins.report.markdown import table

FILE_NAME = "pact_evaluation.json"
_KEYS = {"of", "title", "header", "rows", "notes"}


def write(folder: Path, record: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Leave an evaluation beside the model.

    Args:
        record: the run's, from ``pact.json``.
        content: ``title``, a line of Markdown; ``header`` and ``rows`` of a table, texts; ``notes``, lines.
    """
    write_json(folder / FILE_NAME, {"of": _fingerprint(record), **content})


def read(folder: Path, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was left there; None where there is nothing, or it is of another training.

    Raises:
        DataError: the file is damaged.
    """
    file = folder / FILE_NAME
    if not file.is_file():
        return None
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict) or not set(content) >= _KEYS:
        raise DataError(f"{file} holds no evaluation; delete it, and write it again with pact card --evaluation")
    return content if content["of"] == _fingerprint(record) else None


def texts(content: Mapping[str, Any]) -> list[str]:
    """Paragraphs and a table in Markdown."""
    notes = [f"- {note}" for note in content["notes"]]
    return [
        content["title"],
        table(content["header"], content["rows"], texts=2),
        *(["\n".join(notes)] if notes else []),
    ]


def _fingerprint(record: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of a run's record."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
