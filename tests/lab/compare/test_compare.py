"""`pact compare` itself: two runs on the toy benchmark that resume; the tiny model on disk as a user's own."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from pact_lab import tiny_world
from pact_lab.compare import running
from pact_lab.compare.cli import compare
from pact_lab.compare.scenario import SCENARIOS, Scenario
from pact_lab.finetuning.tuning import Tuning

pytestmark = [pytest.mark.framework, pytest.mark.matrix]


def run(*arguments):
    result = CliRunner().invoke(compare, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def short():
    """A scenario of a few steps, for the time of this module."""
    SCENARIOS["short"] = Scenario("short", "a few steps", tuning=Tuning(epochs=0.1))
    yield "short"
    del SCENARIOS["short"]


@pytest.fixture(scope="module")
def output(tmp_path_factory, short):
    folder = tmp_path_factory.mktemp("compare")
    arguments = ["-o", folder, "--scenarios", short, "--seeds", 1, "--prompts", 12]
    run(*arguments, "--methods", "sft,mixed_refusals")
    return folder, arguments


def test_a_finished_grid_is_only_read(output, monkeypatch):
    folder, arguments = output
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").iterdir()}
    assert len(before) == 3
    monkeypatch.setattr(running, "train_and_evaluate", lambda *_: pytest.fail("trained again"))
    assert "3 runs" in run(*arguments, "--methods", "sft,mixed_refusals")
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "runs").iterdir()}


def test_only_what_is_missing_is_run_and_gives_the_same_run(output):
    folder, arguments = output
    (lost,) = (folder / "runs").glob("short.sft.*")
    kept = json.loads(lost.read_text())
    lost.unlink()
    run(*arguments, "--methods", "sft,mixed_refusals")
    again = json.loads(lost.read_text())
    for name in ("harmful", "harmful_sampled", "calibration_sampled", "benign", "task", "key", "rows"):
        assert again[name] == kept[name], name
    assert len(kept["harmful"]) == len(kept["task"]) == 12


def test_rows_are_transformed(output):
    rows = {json.loads(path.read_text())["method"]: json.loads(path.read_text()).get("rows") for path in runs(output)}
    assert rows == {"aligned": None, "sft": 800, "mixed_refusals": 880}


def runs(output):
    return list((output[0] / "runs").iterdir())


def test_results(output):
    results = json.loads((output[0] / "results.json").read_text())
    assert [summary["method"] for summary in results["summaries"]] == ["aligned", "sft", "mixed_refusals"]
    assert results["summaries"][0]["figures"]["sampled"]["mean"] <= 0.25
    assert results["settings"]["scenarios"]["short"]["tuning"]["epochs"] == 0.1


def test_the_audit_is_measured_against_the_truth(output):
    (audit,) = json.loads((output[0] / "results.json").read_text())["audits"]
    found = audit["detection"]
    assert found["recall"]["total"] == 40
    assert found["false_positives"]["total"] == 760
    assert found["recall"]["count"] >= 36
    assert found["false_positives"]["count"] <= 8
    assert f"| {found['recall']['count']} of 40 (" in (output[0] / "tables.md").read_text()


def test_guard_is_calibrated_once_and_never_sees_the_test_families(output):
    folder, arguments = output
    run(*arguments, "--methods", "sft,mixed_refusals,guard")
    calibration = folder / "calibration"
    assert len(list((calibration / "safety_tokens").glob("*.safetensors"))) == 1
    files = [path.read_text() for path in calibration.glob("*.json")]
    seen = "\n".join(files)
    for word in ("forge", "trick", "cheat", "spread lies", "bully"):
        assert word not in seen
    # The model's own sampled replies happen to have this word; no prompt does.
    prompts = [row if isinstance(row, str) else row["prompt"] for file in files for row in json.loads(file)]
    assert not any("fake" in prompt for prompt in prompts)
    assert "break into" in seen


def test_ones_own_model_and_data(tmp_path):
    model = shutil.copytree(tiny_world.aligned_path(), tmp_path / "model")
    data = tmp_path / "rows.jsonl"
    rows = [row.pair for row in tiny_world.finetuning_mixture(60, seed=0)]
    data.write_text("".join(json.dumps({"prompt": r["prompt"], "completion": r["response"]}) + "\n" for r in rows))
    arguments = ["-o", tmp_path / "out", "--model", model, "--data", data, "--seeds", 1, "--prompts", 6]
    printed = run(*arguments, "--methods", "sft", "--learning-rate", 3e-3, "--epochs", 3)
    assert "2 runs" in printed
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    aligned, sft = (summary["figures"] for summary in results["summaries"])
    assert 0 < aligned["accuracy"]["mean"] < sft["accuracy"]["mean"] <= 1
    assert {"greedy", "sampled", "over_refusal", "helped"} <= sft.keys()
