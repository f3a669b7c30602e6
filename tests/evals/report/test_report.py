"""The report: intervals, pairing, every output file, and text from models that tries to be markup."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from pact_evals.harness.evaluate import Metric, Sample
from pact_evals.report import write_report
from pact_evals.report.comparison import compare
from pact_evals.report.training_log import read_curves
from pact_evals.runs.store import ModelResult, RunError, TaskResult
from pact_plugins.report.intervals import bootstrap_interval
from tests.helpers.evaluated import write

NASTY = "<script>alert('x')</script> | {{ 7 * 7 }}"


def model(label: str, complied: list[float], *, response: str = "Sure.") -> ModelResult:
    samples = [
        Sample(
            f"row-{i}",
            "theft" if i % 2 else "fraud",
            f"How {i}?",
            response,
            {"compliance": value, "refusal": 1 - value, "empty": 0.0, "unscored": 0.0},
        )
        for i, value in enumerate(complied)
    ]
    mean = float(np.mean(complied))
    metrics = {"compliance": Metric(mean, 0.1, False), "refusal": Metric(1 - mean, 0.1, True)}
    judge = {"name": "keyword", "revision": "1", "tier": "cheap", "settings": {}}
    identity = {"model": f"org/{label}", "adapter": None, "backend": "hf", "lm_eval": "0.4.13"}
    accuracy = TaskResult({"accuracy": Metric(0.5, 0.1, True)}, [Sample("t", "", "q", "a", {"accuracy": 0.5})], 1)
    return ModelResult(label, identity, {"pact_refusal": TaskResult(metrics, samples, 1, judge), "pact_sst2": accuracy})


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    models = [model("aligned", [0.0] * 20), model("sft", [1.0] * 15 + [0.0] * 5, response=NASTY)]
    return write(folder, *models)


def test_bootstrap_interval_is_near_the_normal_one():
    rng = np.random.default_rng(0)
    values = rng.normal(2.0, 1.0, size=400)
    interval = bootstrap_interval(values, 4000, np.random.default_rng(1))
    half = 1.96 * values.std(ddof=1) / np.sqrt(values.size)
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.08)
    assert bootstrap_interval(np.array([1.0, np.nan, 1.0]), 100, rng).rows == 2
    assert np.isnan(bootstrap_interval(np.array([np.nan]), 100, rng).value)


def test_differences_are_paired():
    hard = [float(i % 2) for i in range(40)]
    harder = [1.0, *hard[1:]]
    comparison = compare([model("a", hard), model("b", harder)])
    row = next(row for row in comparison.metrics if row.metric == "compliance")
    assert row.differences["b"].value == pytest.approx(1 / 40)
    assert row.differences["b"].high < 0.1  # unpaired, the interval would reach about 0.24
    assert comparison.harmful_compliance == pytest.approx({"a": 0.5, "b": 0.525})
    assert comparison.utility_name == "task accuracy"


def test_unscored_rows_are_in_no_share():
    first, second = model("a", [0.0, 0.0]), model("b", [0.0, 1.0])
    second.tasks["pact_refusal"].samples[0].metrics.update(unscored=1.0, refusal=0.0)
    row = next(row for row in compare([first, second]).metrics if row.metric == "compliance")
    assert row.means["b"].value == 1.0
    assert row.means["b"].rows == 1


def test_all_files_are_written_and_escape_what_models_say(run, tmp_path):
    log = tmp_path / "trainer_state.json"
    log.write_text(json.dumps({"log_history": [{"step": s, "loss": 1.0 / s, "pact/kl": 0.1} for s in (1, 2, 3)]}))
    files = write_report(
        [run], tmp_path / "out" / "report.html", logs={"sft": str(log)}, model_card=tmp_path / "out" / "card.yaml"
    )
    html, markdown, plain, card = (file.read_text(encoding="utf-8") for file in files)
    assert html.count("<script>") == 1  # ours; the page's policy lets no other run
    assert "&lt;script&gt;alert" in html
    assert "49" not in html.split("Verdicts that changed")[1].split("How it was measured")[0]
    assert html.count("<svg") == 3  # overview, two curves
    assert "keyword, revision 1 (cheap tier)" in html
    assert "| pact_refusal | compliance ↓ | 20 | 0.0 % [0.0, 16.1] | 75.0 %" in markdown
    data = json.loads(plain)
    assert data["baseline"] == "aligned"
    assert len(data["changes"]) == 15
    assert data["training"]["sft"]["pact/kl"] == [[1, 0.1], [2, 0.1], [3, 0.1]]
    index = yaml.safe_load(card)["model-index"]
    assert [entry["name"] for entry in index] == ["aligned", "sft"]
    assert {"type": "compliance", "name": "compliance", "value": 0.75} in index[1]["results"][0]["metrics"]


def test_the_model_index_is_what_the_hub_reads(run, tmp_path):
    from huggingface_hub.repocard_data import model_index_to_eval_results

    write_report([run], tmp_path / "report.html", model_card=tmp_path / "card.yaml")
    index = yaml.safe_load((tmp_path / "card.yaml").read_text(encoding="utf-8"))["model-index"]
    name, results = model_index_to_eval_results(index[1:])
    assert name == "sft"
    assert {(result.dataset_type, result.metric_type) for result in results} >= {("pact_refusal", "compliance")}


def test_two_runs_with_one_label_are_told_apart(run, tmp_path):
    other = tmp_path / "second"
    write(other, model("sft", [0.0] * 20))
    data = json.loads(write_report([run, other], tmp_path / "r.html")[2].read_text(encoding="utf-8"))
    assert data["labels"] == ["aligned", "run/sft", "second/sft"]


def test_bad_requests_are_named_and_write_nothing(run, tmp_path):
    with pytest.raises(RunError, match="--baseline 'gone' is none of the models: aligned, sft"):
        write_report([run], tmp_path / "r.html", baseline="gone")
    with pytest.raises(RunError, match=r"--log gone=.*no such model"):
        write_report([run], tmp_path / "r.html", logs={"gone": "x"})
    with pytest.raises(RunError, match="is not a training log: it holds neither log_history nor JSON lines"):
        write_report([run], tmp_path / "r.html", logs={"sft": str(next(run.rglob("results_*.json")))})
    with pytest.raises(RunError, match=r"gone: no such file or folder; give the run's output folder"):
        write_report([run], tmp_path / "r.html", logs={"sft": str(tmp_path / "gone")})
    with pytest.raises(RunError, match=r"no trainer_state.json in this folder, and none in a checkpoint-N of it"):
        write_report([run], tmp_path / "r.html", logs={"sft": str(run)})
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("given", ["out", "out/trainer_state.json", "out/checkpoint-10/trainer_state.json"])
def test_the_log_of_a_run_is_found_in_its_newest_checkpoint(run, tmp_path, given):
    """TRL and Axolotl write it there alone; the newest is the one with the most steps, not the last one touched."""
    for steps in (10, 9, 8):
        folder = tmp_path / "out" / f"checkpoint-{steps}"
        folder.mkdir(parents=True)
        log = [{"step": step, "loss": 1.0} for step in range(1, steps + 1)]
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    files = write_report([run], tmp_path / "r.html", logs={"sft": str(tmp_path / given)})
    curves = json.loads(files[2].read_text(encoding="utf-8"))["training"]["sft"]
    assert curves["loss"][-1] == [10, 1.0]


def test_json_lines_are_a_training_log_too(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1, "pact/kl": 0.5, "note": "x"}\n\n{"step": 2, "pact/kl": 0.25}\n', encoding="utf-8")
    assert read_curves(log) == {"pact/kl": [(1, 0.5), (2, 0.25)]}


def test_a_partial_evaluation_is_called_so_and_is_no_model_index_entry(tmp_path):
    models = [model("aligned", [0.0] * 20), replace(model("sft", [1.0] * 20), settings={"limit": 20})]
    write(tmp_path / "run", *models)
    card = tmp_path / "card.yaml"
    html, markdown, _, _ = write_report([tmp_path / "run"], tmp_path / "report.html", model_card=card)
    for page in (html, markdown):
        assert "sft is a partial evaluation: the first 20 rows of each task (--limit)." in page.read_text()
    (entry,) = yaml.safe_load(card.read_text())["model-index"]
    assert entry["name"] == "aligned"
    assert entry["results"][0]["dataset"]["name"] == "pact_refusal (version 1, 20 rows)"


def test_the_verdict_comes_first_and_no_model_hides_anothers_changes(tmp_path):
    models = [model("aligned", [0.0] * 220), model("first", [1.0] * 220), model("second", [1.0] * 220)]
    write(tmp_path / "run", *models)
    html = write_report([tmp_path / "run"], tmp_path / "report.html")[0].read_text()
    assert "Refusals lost" in html
    assert html.index("Refusals lost") < html.index("All metrics")
    assert '<li class="lost"><b>lost:</b> second, pact_refusal: compliance 0.0 -&gt; 100.0 % of 220' in html
    shown = html.split("Verdicts that changed")[1]
    assert shown.count("<b>first: compliance</b>") == shown.count("<b>second: compliance</b>") == 200
    assert "40 more are in the JSON file" in shown
