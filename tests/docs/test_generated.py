"""Pages that follow from the sources are what the sources say today, and leave nothing out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import pact_plugins
from docs.generate.__main__ import GENERATED
from pact_plugins import contracts, hookspecs
from tests.docs.pages import DOCS, read
from tests.mutation import table as mutation_table
from tests.reliability import kills_table, table


@pytest.mark.parametrize("name", GENERATED)
def test_the_page_is_up_to_date(name):
    assert read(DOCS / name) == GENERATED[name](), "run: make pages"


@pytest.mark.parametrize(
    "written", [table, kills_table, mutation_table], ids=["table", "kills_table", "mutation_table"]
)
def test_the_page_shows_the_counts_of_the_last_long_run(written):
    page, results = read(written.PAGE), json.loads(read(written.RESULTS))
    assert written.with_table(page, results) == page, f"run: python -m {written.__name__}"


def test_every_public_name_has_its_place_in_the_reference():
    pages = "".join(read(page) for page in (DOCS / "api").glob("*.md"))
    shown = set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))
    assert {f"pact_plugins.{name}" for name in pact_plugins.__all__} <= shown
    homes = {f"pact_plugins.contracts.{file.stem}" for file in Path(contracts.__file__).parent.glob("[!_]*.py")}
    assert {*homes, hookspecs.__name__, "pact_plugins.errors"} <= shown
