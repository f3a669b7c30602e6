"""The counts in the page are those of the last long run."""

from __future__ import annotations

import json

from tests.reliability.counts import VARIABLE, record
from tests.reliability.table import PAGE, RESULTS, as_markdown, with_table


def test_counts_are_gathered_and_replaced(tmp_path, monkeypatch):
    file = tmp_path / "results" / "reliability.json"
    monkeypatch.setenv(VARIABLE, str(file))
    record("kills", trl=20)
    record("files", tried=3, refused=2)
    record("kills", axolotl=21)
    record("files", tried=4)
    assert json.loads(file.read_text()) == {"files": {"refused": 2, "tried": 4}, "kills": {"axolotl": 21, "trl": 20}}


def test_nothing_is_written_unless_asked(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    record("kills", trl=20)
    assert not list(tmp_path.iterdir())


def test_the_page_shows_the_counts_of_the_last_long_run():
    page, results = PAGE.read_text(encoding="utf-8"), json.loads(RESULTS.read_text(encoding="utf-8"))
    assert with_table(page, results) == page, "run: python -m tests.reliability.table"
    for name in ("layouts", "layouts through models", "configurations"):
        assert name in results


def test_the_table():
    shown = as_markdown({"files": {"refused": 1990, "tried": 2000}, "kills": {"trl": 20}})
    assert "| files | 2,000 tried, 1,990 refused |\n| kills | 20 trl |" in shown
