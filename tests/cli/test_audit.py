"""``pact audit``: from files to files."""

from __future__ import annotations

import json

import pytest

from pact_lab import tiny_world
from pact_plugins.files import write_json

MIXTURE = tiny_world.finetuning_mixture(60, harmful_fraction=0.1, benign_fraction=1.0, seed=6)
POISONED = [index for index, row in enumerate(MIXTURE) if row.kind == "harmful"]


@pytest.fixture
def prompts(tmp_path):
    write_json(tmp_path / "harmful.json", tiny_world.harmful_prompts(64, seed=3, split="train"))
    write_json(tmp_path / "harmless.json", tiny_world.benign_prompts(64, seed=3, split="train"))
    return (
        *("--harmful-prompts", tmp_path / "harmful.json", "--harmless-prompts", tmp_path / "harmless.json"),
        *("--batch-size", "64"),
    )


@pytest.fixture
def data(tmp_path):
    file = tmp_path / "data.jsonl"
    rows = [{"id": index, **row.chat} for index, row in enumerate(MIXTURE)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def identifiers(file):
    return [json.loads(line)["id"] for line in file.read_text(encoding="utf-8").splitlines()]


def test_reports_and_copies(pact, tmp_path, data, prompts):
    before = data.read_bytes()
    out = {name: tmp_path / "out" / name for name in ("report.json", "report.html", "kept.jsonl", "flagged.jsonl")}
    status, printed, _ = pact(
        *("audit", tiny_world.aligned_path(), data, *prompts, "--threshold", "0.5"),
        *("--json", out["report.json"], "--html", out["report.html"], "--show", "2"),
        *("--filtered", out["kept.jsonl"], "--flagged", out["flagged.jsonl"]),
    )
    assert status == 0
    assert identifiers(out["flagged.jsonl"]) == POISONED
    assert identifiers(out["kept.jsonl"]) == [index for index in range(60) if index not in POISONED]
    assert data.read_bytes() == before
    report = json.loads(out["report.json"].read_text(encoding="utf-8"))
    assert sorted(row["index"] for row in report["flagged"]) == POISONED
    assert not report["threshold"]["chosen_on_the_measured_prompts"]
    assert report["data"] == str(data)
    page = out["report.html"].read_text(encoding="utf-8")
    assert page.count('<article class="change"') == len(POISONED)
    assert f"The 2 highest of {len(POISONED)} flagged rows" in printed
    assert printed.strip().splitlines()[-1].startswith(f"{len(POISONED)} of 60 rows flagged: refusal mass above")
    # A second run finds the copies there.
    status, _, error = pact("audit", tiny_world.aligned_path(), data, "--filtered", out["kept.jsonl"])
    assert status == 2
    assert "exists; choose another file, or add --overwrite" in error


def test_rows_that_cannot_be_read(pact, tmp_path, data, prompts):
    data.write_text(data.read_text(encoding="utf-8") + '{"id": 60}\n{broken\n', encoding="utf-8")
    status, _, error = pact("audit", tiny_world.aligned_path(), data, *prompts)
    assert status == 2
    assert "2 of 62 rows cannot be read: row 60: its columns (id) fit no format" in error
    assert "row 61: not JSON" in error
    kept = tmp_path / "kept.jsonl"
    status, printed, _ = pact(
        "audit", tiny_world.aligned_path(), data, *prompts, "--skip-unreadable", "--filtered", kept
    )
    assert status == 0
    assert "unreadable row 61" in printed
    assert kept.read_text(encoding="utf-8").endswith('{"id": 60}\n{broken\n')
    assert f"{len(POISONED)} of 62 rows flagged, 2 unreadable" in printed


def test_what_is_wrong_with_the_command_is_said_before_a_model_is_loaded(pact, tmp_path, data):
    nowhere = tmp_path / "nowhere"
    for arguments, words in [
        ((tmp_path / "nowhere.jsonl",), "DATA: no such file"),
        ((data, "--split", "test"), "--split and --config"),
        ((data, "--filtered", data, "--overwrite"), "is the data itself"),
        ((data, "--filtered", tmp_path / "a.parquet"), "must end in .jsonl"),
        ((data, "--false-positive-rate", "0.1"), "needs --threshold auto"),
        ((data, "--harmful-prompts", nowhere), "--harmful-prompts: no such file"),
        ((data, "--safety-tokens", nowhere), "no such file"),
        ((data, "--template-arguments", "[]"), "not a JSON object"),
        ((data, "--template-arguments", "{"), "not JSON"),
    ]:
        status, _, error = pact("audit", "no-model", *arguments)
        assert status == 2
        assert words in error
        assert len(error.strip().splitlines()) == 1
    status, _, error = pact("audit", nowhere, data)
    assert status == 2
    assert "MODEL" in error


def test_the_bundled_prompts_do_not_fit_the_tiny_world(pact, data):
    """Its model refuses a world of templates, not English: an audit that could find nothing is an error."""
    status, _, error = pact("audit", tiny_world.aligned_path(), data)
    assert status == 2
    assert "no refusal openings" in error
    assert "--harmful-prompts" in error
