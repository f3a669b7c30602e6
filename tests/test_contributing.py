"""CONTRIBUTING.md shows every room, and the tests mirror the package."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MIRRORED = {
    "pact_plugins": ROOT / "tests",
    "lab/pact_lab": ROOT / "tests" / "lab",
    "evals/pact_evals": ROOT / "tests" / "evals",
}
# Held by the tests of what they serve: contracts and built-ins by tests/test_plugins.py, short files by their rooms.
_WITHOUT_A_FOLDER = {"contracts", "default_plugins", "tasks", "finetuning", "judges/keyword", "audit/reading"}


def rooms(package: str) -> set[str]:
    return {folder.parent.name for folder in (ROOT / package).glob("*/__init__.py")}


def test_the_table_shows_exactly_the_rooms() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\| `pact_plugins/(\w+)/`", text, re.MULTILINE))
    assert shown == rooms("pact_plugins")
    for folder in ("integrations", "evals/pact_evals", "lab/pact_lab", "tests"):
        assert f"| `{folder}/` |" in text


def test_every_room_has_its_tests_and_every_folder_of_tests_its_room() -> None:
    for package, tests in MIRRORED.items():
        folders = {file.parent.name for file in tests.glob("*/test_*.py")}
        assert rooms(package) - _WITHOUT_A_FOLDER <= folders, package
    known = rooms("pact_plugins") | {"docs", "evals", "lab", "trl", "axolotl", "llamafactory", "engines", "reliability"}
    assert {file.parent.name for file in (ROOT / "tests").glob("*/test_*.py")} <= known


def test_no_folder_has_more_modules_than_a_reader_takes_in() -> None:
    for root in ("pact_plugins", "integrations", "evals", "lab"):
        for folder in (ROOT / root).rglob("*"):
            assert len(list(folder.glob("*.py"))) <= 15, folder


def test_every_package_says_that_it_is_typed() -> None:
    for package in ("pact_plugins", "lab/pact_lab", "evals/pact_evals", *map(str, ROOT.glob("integrations/pact_*"))):
        assert (ROOT / package / "py.typed").is_file(), package
