"""The counts in the page are those of the last long run."""

from __future__ import annotations

import json

from tests.reliability.counts import VARIABLE, record


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
