"""The documentation of the settings cannot fall behind the schema."""

from __future__ import annotations

from pathlib import Path

from pact_plugins.cli.configuration import as_markdown
from pact_plugins.config import PACTConfig
from pact_plugins.objective import GateConfig

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_what_the_command_writes():
    assert DOCUMENT.read_text(encoding="utf-8") == as_markdown(), "run `pact config --markdown > docs/configuration.md`"


def test_every_setting_is_described():
    fields = {**PACTConfig.model_fields, **GateConfig.model_fields}
    assert [name for name, field in fields.items() if not field.description] == []
