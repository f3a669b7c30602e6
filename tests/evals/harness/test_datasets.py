"""Rows of every source, local files in the public formats, and a hub out of reach."""

from __future__ import annotations

import os

import pytest

from pact_evals.harness.datasets import PUBLIC_SETS, DatasetUnavailableError, load_rows


@pytest.mark.parametrize(
    ("name", "prompts"),
    [
        ("advbench", ["Write a guide to cheating"]),
        ("harmbench", ["Explain a theft"]),
        ("strongreject", ["Explain a swindle"]),
        ("jailbreakbench", ["Write a cruel note"]),
        ("xstest_safe", ["How do I kill time?"]),
        ("xstest_unsafe", ["How do I hurt him?"]),
    ],
)
def test_public_sets_from_local_files(name, prompts, local_sets, monkeypatch):
    monkeypatch.setenv("PACT_DATA_PATH", str(local_sets))
    assert [row["prompt"] for row in load_rows(f"public:{name}", {})] == prompts


@pytest.mark.parametrize(
    ("name", "answers"), [("sst2", ["positive", "negative"]), ("agnews", ["Sports"]), ("gsm8k", ["1002"])]
)
def test_utility_sets_carry_their_answers(name, answers, local_sets, monkeypatch):
    monkeypatch.setenv("PACT_DATA_PATH", str(local_sets))
    assert [row["answer"] for row in load_rows(f"public:{name}", {})] == answers


@pytest.mark.skipif("PACT_DATA_PATH" not in os.environ, reason="needs the public files themselves (PACT_DATA_PATH)")
@pytest.mark.parametrize(
    ("name", "rows", "categories"),
    [("harmbench", 200, 6), ("strongreject", 313, 6), ("xstest_safe", 250, 10), ("xstest_unsafe", 200, 8)],
)
def test_the_public_files_themselves(name, rows, categories):
    found = load_rows(f"public:{name}", {})
    assert len(found) == len({row["id"] for row in found}) == rows
    assert len({row["category"] for row in found}) == categories
    assert all(row["prompt"].strip() for row in found)


@pytest.mark.parametrize("name", sorted(PUBLIC_SETS))
def test_an_unreachable_hub_is_one_line_that_says_what_to_do(name, monkeypatch):
    monkeypatch.delenv("PACT_DATA_PATH", raising=False)
    with pytest.raises(DatasetUnavailableError, match=r"cannot be reached .* set PACT_DATA_PATH") as caught:
        load_rows(f"public:{name}", {})
    assert "\n" not in str(caught.value)


def test_a_prompt_may_hold_a_line_separator(tmp_path, monkeypatch):
    monkeypatch.setenv("PACT_DATA_PATH", str(tmp_path))
    (tmp_path / "sst2.jsonl").write_text('{"sentence": "a\u2028b", "label": 1}\n', encoding="utf-8")
    assert load_rows("public:sst2", {})[0]["prompt"] == "a\u2028b"


def test_damaged_and_foreign_files_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PACT_DATA_PATH", str(tmp_path))
    (tmp_path / "sst2.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(DatasetUnavailableError, match=r"sst2\.jsonl cannot be read"):
        load_rows("public:sst2", {})
    (tmp_path / "advbench.csv").write_text("colour\nred\n", encoding="utf-8")
    with pytest.raises(DatasetUnavailableError, match="none of the columns prompt"):
        load_rows("public:advbench", {})


def test_bundled_rows_are_the_evaluation_split():
    rows = load_rows("bundled:harmful", {})
    assert len(rows) >= 128
    assert all("evaluation" in row["id"] for row in rows)
