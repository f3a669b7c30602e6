"""Two processes give one process's gradients; the oldest supported TRL gives those of plain autograd."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pact_plugins.settings import merged
from tests.helpers.scenario import run
from tests.helpers.trainers import python_path

pytestmark = pytest.mark.framework

ROOT = Path(__file__).parents[2]
OLDEST = ROOT / ".venvs" / "trl-oldest" / "bin" / "python"


# Every micro-batch sees every anchor, so that the number of processes does not change which ones.
GUARD = {"row_gate": {"mode": "hard"}, "anchor": {"prompts": "bundled", "replies": 4, "share": 16}}
PROCESSES = {
    "published, full": {"objective": "published", "weight": 1.0},
    "match, lora": {"objective": "match", "adapter": True},
    "guard, lora": {"adapter": True, "guard": merged(GUARD, {"anchor": {"max_new_tokens": 5}})},
    "guard, full, reentrant": {
        "guard": merged(GUARD, {"anchor": {"max_new_tokens": 5}}),
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": True},
    },
}
# The weights are moved before the first step: more than this has drifted when it ends.
WATCH = {"every": 1, "prompts": 3, "greedy": True, "stop_if_drift": 0.01}
WATCHED = {"adapter": True, "guard": {"drift_watch": WATCH}, "max_steps": 4}
SILENT = {"objective": "published", "weight": 1.0, "per_device_train_batch_size": 4, "silent_rank": 1}
SELDOM = {"anchor": {"prompts": "bundled", "every": 2, "replies": 4, "max_new_tokens": 4}}
SILENT_ANCHORED = {**SILENT, "objective": "match", "weight": 0.0, "guard": SELDOM}
OLDEST_CASES = {
    "match, lora": {"objective": "match", "adapter": True, "gradient_accumulation_steps": 2},
    "published, full": {"objective": "published", "weight": 1.0},
    "match, packed": {"objective": "match", "packing": True, "max_length": 256},
}


def in_subprocess(out, cases, *, launcher):
    """Run the cases and return the folder that holds a folder for each."""
    finished = subprocess.run(
        [*map(str, launcher), "-m", "tests.helpers.scenario", str(out), json.dumps(cases)],
        cwd=ROOT,
        env=python_path(),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-4000:]
    return out


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    settings = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    further = {"watched": WATCHED, "silent": SILENT, "silent, anchored": SILENT_ANCHORED}
    cases = {name: {**settings, **options} for name, options in {**PROCESSES, **further}.items()}
    cases["silent"]["gradient_accumulation_steps"] = cases["silent, anchored"]["gradient_accumulation_steps"] = 1
    cases = {name: {**options, "ddp_backend": "gloo"} for name, options in cases.items()}
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    return in_subprocess(tmp_path_factory.mktemp("two_processes"), cases, launcher=launcher)


@pytest.fixture(scope="module")
def oldest_trl(tmp_path_factory):
    if not OLDEST.exists():
        pytest.skip(f"{OLDEST} is missing: make environments")
    cases = {name: {**options, "with_naive": True} for name, options in OLDEST_CASES.items()}
    return in_subprocess(tmp_path_factory.mktemp("oldest"), cases, launcher=(OLDEST,))


def read(folder):
    return load_file(folder / "gradients.safetensors"), json.loads((folder / "log.json").read_text())


def assert_same(found, expected, *, tolerance=1e-5):
    names = set(expected) - {"cross_entropy", "term"}
    assert found.keys() == names
    for name in names:
        gradient = expected[name]
        torch.testing.assert_close(
            found[name], gradient, rtol=tolerance, atol=tolerance * max(1.0, float(gradient.abs().max())), msg=name
        )


@pytest.mark.parametrize("name", PROCESSES)
def test_two_processes_equal_one(tmp_path, two_processes, name):
    run(tmp_path, **PROCESSES[name], per_device_train_batch_size=4, gradient_accumulation_steps=2)
    expected_gradients, expected = read(tmp_path)
    gradients, log = read(two_processes / name)
    assert_same(gradients, expected_gradients)
    guarded = ("pact/anchor_kl", "pact/gated_rows") if "guard" in PROCESSES[name] else ()
    for key in ("loss", "pact/kl", "pact/loss", *guarded):
        assert log[key] == pytest.approx(expected[key], rel=1e-4)


def test_two_processes_see_one_drift_and_stop_together(tmp_path, two_processes):
    """Each asks half of the prompts; one that went on alone would wait for the other for ever."""
    run(tmp_path, **WATCHED, per_device_train_batch_size=4, gradient_accumulation_steps=2)
    alone, together = (
        json.loads((folder / "run" / "pact.json").read_text())["drift_watch"]
        for folder in (tmp_path, two_processes / "watched")
    )
    assert together["stopped_at"] == alone["stopped_at"] == 1
    for key in ("start", "last"):
        assert together[key] == pytest.approx(alone[key], abs=1e-5)
    assert alone["last"]["drift"] > 0.01


def test_a_rank_without_response_tokens_takes_part(two_processes):
    """Its collectives must match the other's, and the other's term must arrive in full."""
    gradients, log = read(two_processes / "silent")
    assert log["pact/kl"] > 0
    assert 0 < log["pact/safety_mass"] < 1
    assert 0 < log["pact/mixture"] < 1
    assert any(float(gradient.abs().max()) > 1e-3 for gradient in gradients.values())
    record = json.loads((two_processes / "silent" / "run" / "pact.json").read_text())
    assert record["optimizer_steps_protected"] == 1


def test_a_rank_without_response_tokens_knows_what_an_anchored_step_weighs(two_processes):
    gradients, log = read(two_processes / "silent, anchored")
    assert "pact/anchor_kl" in log
    assert any(float(gradient.abs().max()) > 1e-3 for gradient in gradients.values())
    record = json.loads((two_processes / "silent, anchored" / "run" / "pact.json").read_text())
    assert record["optimizer_steps_protected"] == 1


@pytest.mark.parametrize("name", OLDEST_CASES)
def test_oldest_trl_equals_plain_autograd(oldest_trl, name):
    gradients, log = read(oldest_trl / name)
    expected = load_file(oldest_trl / name / "expected.safetensors")
    assert_same(gradients, expected)
    weight, term = OLDEST_CASES[name].get("weight", 1.5), float(expected["term"])
    assert term > 1e-3
    assert log["pact/kl"] == pytest.approx(term, rel=1e-4)
    assert log["loss"] == pytest.approx(float(expected["cross_entropy"]) + weight * term, rel=1e-3)
    assert {"pact/loss", "pact/safety_mass", "pact/reference_safety_mass"} <= log.keys()


def test_the_oldest_environment_holds_the_oldest_versions():
    if not OLDEST.exists():
        pytest.skip(f"{OLDEST} is missing: make environments")
    code = "from importlib.metadata import version; print(version('trl'), version('transformers'))"
    versions = subprocess.run([OLDEST, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert versions[0].startswith("0.24.")
    assert versions[1].startswith("4.")
