"""``make pages``: write the generated pages and drawings again."""

from __future__ import annotations

from pathlib import Path

from docs.generate import drift, natural
from pact_plugins.cli.configuration import as_markdown

DOCS = Path(__file__).resolve().parents[1]
GENERATED = {
    "configuration.md": as_markdown,
    "index.md": drift.page,
    "../benchmarks/natural.md": natural.page,
    "../README.md": natural.readme,
    "drawings/drift.svg": drift.drawing,
}

if __name__ == "__main__":
    for name, write in GENERATED.items():
        (DOCS / name).write_text(write(), encoding="utf-8")
