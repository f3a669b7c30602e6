"""The documentation of the settings cannot fall behind the schema."""

from __future__ import annotations

from pathlib import Path

from pact_plugins.cli.configuration import as_markdown

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_what_the_command_writes():
    assert DOCUMENT.read_text(encoding="utf-8") == as_markdown(), "run `pact config --markdown > docs/configuration.md`"
