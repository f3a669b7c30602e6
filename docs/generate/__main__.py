"""``make pages``: write the generated pages and drawings again."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from docs.generate import drift, natural
from pact_plugins.cli.configuration import block_page, overview

EXPLAINED = {
    "term": "[the term](../objectives.md)",
    "row_gate": "[the row gate](../guard.md#row-gate)",
    "anchor": "[the anchor](../guard.md#anchor)",
    "safety_tokens": "[before the first step](../how_it_works.md#before-the-first-step)",
    "reference": "[references](../reference.md)",
    "drift_watch": "[the drift watch](../drift_watch.md)",
}


def settings_page(block: str) -> str:
    """The block's settings, and where it is explained."""
    return f"{block_page(block)}\nHow it works: {EXPLAINED[block]}.\n"


DOCS = Path(__file__).resolve().parents[1]
GENERATED = {
    "configuration.md": overview,
    **{f"settings/{name}.md": partial(settings_page, name) for name in EXPLAINED},
    "index.md": drift.page,
    "../benchmarks/natural.md": natural.page,
    "../README.md": natural.readme,
    "drawings/drift.svg": drift.drawing,
}

if __name__ == "__main__":
    for name, write in GENERATED.items():
        (DOCS / name).write_text(write(), encoding="utf-8")
