"""The documentation of the settings cannot fall behind the schema."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from docs.generate.__main__ import DOCS, GENERATED
from pact_plugins.cli.configuration import config
from pact_plugins.config import PACTConfig

PAGES = [name for name in GENERATED if name == "configuration.md" or name.startswith("settings/")]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_what_the_schema_says(page):
    assert (DOCS / page).read_text(encoding="utf-8") == GENERATED[page](), "run `make pages`"


def test_every_block_has_its_page():
    assert {f"settings/{name}.md" for name in PACTConfig.blocks()} == set(PAGES) - {"configuration.md"}
    assert {page.name for page in (DOCS / "settings").iterdir()} == {f"{name}.md" for name in PACTConfig.blocks()}


def test_one_block_alone():
    shown = CliRunner().invoke(config, ["--block", "row_gate", "--json"])
    assert [row["key"] for row in json.loads(shown.output)] == ["row_gate.mode", "row_gate.threshold"]


def test_a_block_that_there_is_not():
    shown = CliRunner().invoke(config, ["--block", "gate"])
    assert shown.exit_code == 2
    assert "no block gate; blocks: term, row_gate, anchor" in shown.output
