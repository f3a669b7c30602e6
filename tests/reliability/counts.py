"""What the long reliability tests tried, and what came of it, gathered in one JSON file."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from filelock import FileLock

from pact_plugins.files import write_json

VARIABLE = "PACT_RELIABILITY_RESULTS"


def record(name: str, **counts: int) -> None:
    """Put ``counts`` under ``name`` into the file that the environment variable names; nothing where it is unset.

    What other tests recorded stays, under other names and under other keys of the same name. The same key again
    replaces the older count, so that a second run is not added to the first.
    """
    file = os.environ.get(VARIABLE)
    if not file:
        return
    path = Path(file).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(Path(tempfile.gettempdir()) / f"pact-{path.name}.lock"):
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        kept[name] = {**kept.get(name, {}), **counts}
        write_json(path, dict(sorted(kept.items())))
