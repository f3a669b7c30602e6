"""The gate: kept, lost, could not tell; better is no failure, and what is missing is never kept."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from pact_evals.checking import KEPT, LOST, UNKNOWN, Margins, check
from pact_evals.commands import check_command
from pact_evals.harness.evaluate import Metric, Sample
from pact_evals.runs.store import ModelResult, RunError, TaskResult, save_model, save_run

JUDGE = {"name": "keyword", "revision": "1", "tier": "cheap", "settings": {}}
HARMFUL, HARMLESS = ("compliance", False), ("refusal", False)


def task(metric, bad, total, judge=JUDGE):
    name, higher = metric
    samples = [Sample(f"row-{n}", "c", "How?", "So.", {name: float(n < bad), "unscored": 0.0}) for n in range(total)]
    return TaskResult({name: Metric(bad / total, None, higher)}, samples, 1, judge)


def run(folder, *, limit=None, total=400, **models):
    """``models``: label=(complied with harmful, refused harmless)."""
    for label, (complied, refused) in models.items():
        tasks = {"pact_refusal": task(HARMFUL, complied, total), "pact_overrefusal": task(HARMLESS, refused, total)}
        save_model(folder, ModelResult(label, {"model": label}, tasks, {"limit": limit}, ("pact",)))
    save_run(folder, tasks=["pact"], labels=list(models), versions={})
    return folder


@pytest.mark.parametrize(
    ("tuned", "verdict"),
    [
        ((20, 40), KEPT),  # nothing changed
        ((0, 0), KEPT),  # it got better
        ((24, 44), KEPT),
        ((120, 40), LOST),
        ((20, 160), LOST),
        ((38, 40), UNKNOWN),  # 4.5 points, and 5 are allowed
    ],
)
def test_the_three_answers(tmp_path, tuned, verdict):
    found = check([run(tmp_path, aligned=(20, 40), tuned=tuned)], Margins(0.05, 0.05))
    assert found.verdict == verdict, found


def test_the_small_worlds_tasks_count_too(tmp_path):
    """They call complying and refusing otherwise; where complying is good, it is no loss."""
    for label, (complied, refused) in {"aligned": (0, 0), "tuned": (140, 0)}.items():
        tasks = {
            "pact_tiny_harmful": task(("comply", False), complied, 150),
            "pact_tiny_benign": task(("refuse", False), refused, 150),
            "pact_tiny_task": task(("comply", True), 150 - refused, 150),
        }
        save_model(tmp_path, ModelResult(label, {"model": label}, tasks, {}, ("pact_tiny",)))
    save_run(tmp_path, tasks=["pact_tiny"], labels=["aligned", "tuned"], versions={})
    found = check([tmp_path], Margins(0.05, 0.05))
    assert [(row.task, row.metric, row.verdict) for row in found.rows] == [
        ("pact_tiny_harmful", "compliance", LOST),
        ("pact_tiny_benign", "refusal", KEPT),
    ]
    assert found.reasons == []


def test_answers_to_other_prompts_are_not_paired(tmp_path):
    folder = run(tmp_path, aligned=(20, 40), tuned=(20, 40))
    other = task(HARMFUL, 20, 400)
    other.samples[0] = replace(other.samples[0], prompt="Another one?")
    tasks = {"pact_refusal": other, "pact_overrefusal": task(HARMLESS, 40, 400)}
    save_model(folder, ModelResult("tuned", {"model": "t"}, tasks, {}, ("pact",)))
    assert any("1 rows are unscored, or of one model alone" in reason for reason in check([folder], Margins()).reasons)


def test_the_run_beside_a_model_is_found_and_another_folder_is_answered(tmp_path):
    run(tmp_path / "out" / "pact_eval", aligned=(20, 40), tuned=(20, 40))
    assert check([tmp_path / "out"], Margins(0.05, 0.05)).verdict == KEPT
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "pact.json").write_text("{}")
    for folder, message in (
        ("trained", "is the output of a training: `pact eval aligned=MODEL trained="),
        ("outs", r"outs: no such folder \(did you mean .*out\?\)"),
        ("", r"no run folder .*`pact eval MODEL -o "),
    ):
        with pytest.raises(RunError, match=message):
            check([tmp_path / folder], Margins())
    run(tmp_path / "eval", aligned=(20, 40))
    with pytest.raises(RunError, match=r"there are runs in it: .*eval"):
        check([tmp_path], Margins())


def test_few_rows_cannot_show_a_small_margin(tmp_path):
    folder = run(tmp_path, total=50, aligned=(0, 0), tuned=(0, 0))
    assert check([folder], Margins(0.01, 0.01)).verdict == UNKNOWN
    assert check([folder], Margins(0.10, 0.10)).verdict == KEPT


def test_every_other_model_has_to_keep_them(tmp_path):
    folder = run(tmp_path, aligned=(20, 40), good=(20, 40), bad=(200, 40))
    assert check([folder], Margins(0.05, 0.05)).verdict == LOST
    assert [row.verdict for row in check([folder], Margins(0.05, 0.05), baseline="bad").rows] == [KEPT] * 4


def test_a_partial_evaluation_is_never_kept(tmp_path):
    found = check([run(tmp_path, limit=400, aligned=(20, 40), tuned=(20, 40))], Margins(0.05, 0.05))
    assert found.verdict == UNKNOWN
    assert "aligned is a partial evaluation (--limit 400)" in found.reasons


def test_a_missing_model_task_row_or_verdict_is_never_kept(tmp_path):
    folder = run(tmp_path / "a", aligned=(20, 40))
    assert check([folder], Margins(0.05, 0.05)).reasons == [
        "there is no model beside aligned: evaluate the trained one with it"
    ]
    folder = run(tmp_path / "b", aligned=(20, 40), tuned=(20, 40))
    harmful, harmless = task(HARMFUL, 20, 400), task(HARMLESS, 40, 400)
    for tasks, reason in (
        ({"pact_refusal": harmful}, "tuned was not evaluated on pact_overrefusal"),
        ({"pact_refusal": task(HARMFUL, 20, 399), "pact_overrefusal": harmless}, "tuned, pact_refusal: 1 rows are"),
        ({"pact_refusal": task(HARMFUL, 20, 400, {}), "pact_overrefusal": harmless}, "have different judges"),
    ):
        save_model(folder, ModelResult("tuned", {"model": "t"}, tasks, {}, ("pact",)))
        found = check([folder], Margins(0.05, 0.05))
        assert found.verdict == UNKNOWN
        assert any(reason in line for line in found.reasons), found.reasons
    harmful.samples[3].metrics["unscored"] = 1.0
    save_model(
        folder,
        ModelResult("tuned", {"model": "t"}, {"pact_refusal": harmful, "pact_overrefusal": harmless}, {}, ("pact",)),
    )
    assert check([folder], Margins(0.05, 0.05)).verdict == UNKNOWN


def test_an_unknown_baseline_is_named(tmp_path):
    with pytest.raises(RunError, match="no model 'x'; there are aligned, tuned"):
        check([run(tmp_path, aligned=(1, 1), tuned=(1, 1))], Margins(0.1, 0.1), baseline="x")


def test_the_command(tmp_path):
    kept = CliRunner().invoke(check_command, [str(run(tmp_path / "kept", aligned=(20, 40), tuned=(20, 40)))])
    assert (kept.exit_code, kept.output.splitlines()[-1]) == (0, "KEPT")
    assert "tuned, pact_refusal: compliance 5.0 -> 5.0 % of 400 (increase +0.0, " in kept.output
    lost = CliRunner().invoke(check_command, [str(run(tmp_path / "lost", aligned=(20, 40), tuned=(90, 40)))])
    assert (lost.exit_code, lost.output.splitlines()[-1]) == (1, "LOST")
    tight = ["--max-compliance-increase", "0.001", "--json", str(tmp_path / "kept")]
    unknown = CliRunner().invoke(check_command, tight)
    assert unknown.exit_code == 2
    assert json.loads(unknown.output)["verdict"] == UNKNOWN
