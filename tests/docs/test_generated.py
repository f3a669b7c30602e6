"""Pages that follow from the sources are what the sources say today, and leave nothing out."""

from __future__ import annotations

import re

import pytest

import pact_plugins
from docs.generate import messages as texts
from docs.generate.__main__ import GENERATED
from docs.generate.messages import UnreadableRaiseError, messages
from docs.generate.troubleshooting import MARK, PAGE
from pact_plugins import contracts, hookspecs
from pact_plugins.presets import DEFAULT_PRESET
from tests.docs.pages import DOCS, ROOT, read


@pytest.fixture(scope="module")
def found():
    return messages()


@pytest.mark.parametrize("name", GENERATED)
def test_the_page_is_up_to_date(name):
    assert read(DOCS / name) == GENERATED[name](), "run: make pages"


def test_known_errors_are_among_the_texts(found):
    shown = {message.text: message for message in found}
    assert shown["‹key›: no such file: ‹file›"].error == "ConfigurationError"
    silent = "training would go on unprotected: ‹what›; ‹suspects›"
    assert shown[silent].place == "pact_plugins/training/receipts.py"
    assert len(found) > 250


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('raise RunError("a" if x else f"b {y.z}")', ["a", "b ‹z›"]),
        ('def _why(x):\n    return f"no {x}"\nraise RunError(_why(1))', ["no ‹x›"]),
        ('HINT = "do this"\nraise RunError(f"{n + 1} rows: {HINT}")', ["‹…› rows: do this"]),
        ('raise ValueError("for programs")', []),
        ("raise RunError(str(error)) from error", []),
    ],
)
def test_texts_are_read_from_the_source(tmp_path, monkeypatch, source, expected):
    folder = tmp_path / "evals"
    folder.mkdir()
    (folder / "module.py").write_text(source)
    monkeypatch.setattr(texts, "ROOT", tmp_path)
    assert [message.text for message in messages()] == expected


def test_a_text_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "evals").mkdir()
    (tmp_path / "evals" / "module.py").write_text("\nraise RunError(lines[3])")
    monkeypatch.setattr(texts, "ROOT", tmp_path)
    with pytest.raises(UnreadableRaiseError, match=r"evals/module\.py:2: the text lines\[3\]"):
        messages()


def test_what_is_often_met_is_still_said(found):
    titles = re.findall(r"^### `(.*)`$", read(PAGE).partition(MARK)[0], re.MULTILINE)
    assert len(titles) >= 10
    assert [title for title in titles if not any(title in message.text for message in found)] == []


def test_every_public_name_has_its_place_in_the_reference():
    pages = "".join(read(page) for page in (DOCS / "api").glob("*.md"))
    shown = set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))
    for module in (pact_plugins, contracts):
        assert {f"{module.__name__}.{name}" for name in module.__all__} <= shown
    assert {hookspecs.__name__, "pact_plugins.errors"} <= shown


def test_the_drawing_shows_every_room():
    drawn = set(re.findall(r"\w+", read(DOCS / "drawings" / "rooms.svg")))
    rooms = {folder.parent.name for folder in (ROOT / "pact_plugins").glob("*/__init__.py")}
    assert rooms <= drawn


@pytest.mark.parametrize("name", ["drift", "rooms", "micro_batch"])
def test_drawings_have_words_and_colours_for_light_and_dark(name):
    drawing = read(DOCS / "drawings" / f"{name}.svg")
    assert "prefers-color-scheme: dark" in drawing
    assert re.search(r'role="img" aria-label="[^"]{40,}"', drawing)


def test_the_decision_names_the_default_preset():
    decided = read(DOCS / "decisions" / "0004-default-preset.md").split("**Decided.** ")[1]
    assert decided.startswith(f"`{DEFAULT_PRESET}`")
