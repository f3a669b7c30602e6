"""The documentation of the settings cannot fall behind the schema."""

from __future__ import annotations

from pathlib import Path

from pact_plugins.cli.configuration import as_markdown
from pact_plugins.config import NESTED, PACTConfig

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_what_the_command_writes():
    assert DOCUMENT.read_text(encoding="utf-8") == as_markdown(), "run `pact config --markdown > docs/configuration.md`"


def test_every_setting_is_described():
    models = [PACTConfig, *NESTED.values()]
    fields = [(name, field) for model in models for name, field in model.model_fields.items()]
    assert [name for name, field in fields if not field.description] == []
