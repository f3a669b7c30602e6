"""The page shows the kills of the last long run."""

from __future__ import annotations

import json

from tests.reliability.kills_table import PAGE, RESULTS, with_table


def test_the_page_shows_the_last_run():
    page, results = PAGE.read_text(encoding="utf-8"), json.loads(RESULTS.read_text(encoding="utf-8"))
    assert with_table(page, results) == page, "run: python -m tests.reliability.kills_table"
