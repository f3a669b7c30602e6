"""``pact verify``: real runs, whole, resumed, killed, and tampered with."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from click.testing import CliRunner

from pact_plugins.cli.verify import verify as command
from pact_plugins.verification import verify
from tests.helpers.tiny import save_model, tiny_llama, tiny_safety_tokens
from tests.helpers.trainers import pact, sft_trainer

pytestmark = pytest.mark.framework


class KilledError(Exception):
    pass


def trainer(folder, model_path, *, protected=True, stop_at=None, **settings):
    from transformers import AutoModelForCausalLM, TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == stop_at:
                raise KilledError

    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    callbacks = [pact()] if protected else []
    settings = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2, **settings}
    return sft_trainer(folder, model=model, callbacks=[*callbacks, Stop()], **settings)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("aligned"), tiny_llama())


@pytest.fixture(scope="module")
def resumed(tmp_path_factory, model_path):
    """Killed at step 3, resumed from 2, killed at 5, resumed from 4."""
    folder = tmp_path_factory.mktemp("resumed") / "out"
    for stop_at, checkpoint in ((3, None), (5, folder / "checkpoint-2")):
        with pytest.raises(KilledError):
            trainer(folder, model_path, stop_at=stop_at).train(resume_from_checkpoint=checkpoint and str(checkpoint))
    trainer(folder, model_path).train(resume_from_checkpoint=True)
    return folder


@pytest.fixture
def run(tmp_path, resumed):
    """A copy to tamper with."""
    return shutil.copytree(resumed, tmp_path / "out")


def test_a_run_in_segments_is_one_run(resumed, model_path, tmp_path):
    whole = trainer(tmp_path / "whole", model_path)
    whole.train()
    wholes, resumed_record = (
        json.loads((folder / "pact.json").read_text()) for folder in (tmp_path / "whole", resumed)
    )
    for key in ("optimizer_steps_protected", "gradient_receipts", "response_tokens"):
        assert resumed_record[key] == wholes[key]
    assert wholes["optimizer_steps_protected"] == 6
    assert [(one["first_step"], one["last_step"]) for one in resumed_record["segments"]] == [(1, 2), (3, 4), (5, 6)]
    assert [(one["first_step"], one["last_step"]) for one in wholes["segments"]] == [(1, 6)]
    found = verify(resumed)
    assert (found.problems, found.protected_steps, found.trained_steps) == ([], 6, 6)


def test_a_segment_without_the_callback_is_found(run, model_path):
    shutil.rmtree(run / "checkpoint-6")
    trainer(run, model_path, protected=False).train(resume_from_checkpoint=str(run / "checkpoint-4"))
    (run / "pact.json").unlink()
    (unfinished, gap) = verify(run).problems
    assert "has not come to its end" in unfinished
    assert gap == "steps 5 to 6 of 6 were trained without PACT, or nobody can tell"


def test_a_start_without_the_callback_is_found(tmp_path, model_path):
    with pytest.raises(KilledError):
        trainer(tmp_path, model_path, protected=False, stop_at=3).train()
    trainer(tmp_path, model_path).train(resume_from_checkpoint=True)
    found = verify(tmp_path)
    assert "steps 1 to 2 of 6 were trained without PACT, or nobody can tell" in found.problems
    assert json.loads((tmp_path / "pact.json").read_text())["optimizer_steps_protected"] == 4


def test_training_on_without_it_is_found(run):
    state = json.loads((run / "checkpoint-6" / "trainer_state.json").read_text())
    shutil.copytree(run / "checkpoint-6", run / "checkpoint-9")
    state["global_step"] = 9
    (run / "checkpoint-9" / "trainer_state.json").write_text(json.dumps(state))
    assert verify(run).problems == ["steps 7 to 9 of 9 were trained without PACT, or nobody can tell"]


def edited(run, name, edit):
    value = json.loads((run / name).read_text())
    edit(value)
    (run / name).write_text(json.dumps(value))


def of_segment(number, **values):
    return lambda record: record["segments"][number].update(values)


def trainings(*numbers):
    def edit(record):
        for segment, number in zip(record["segments"], numbers, strict=True):
            segment["training"] = number

    return edit


def further_settings(count):
    """So many settings of the second segment differ."""

    def edit(record):
        settings = record["segments"][1]["settings"]
        settings["term"] = {**settings["term"], **{f"added_{number}": number for number in range(count)}}

    return edit


def of_log(number, *keys):
    return lambda state: [state["log_history"][number].pop(key) for key in keys]


RECORD, STATE = "pact.json", "checkpoint-6/trainer_state.json"
NOTHING = "nothing was added to the loss of steps 3 to 4"
UNREAD = ["steps 1 to 6 of 6 were trained without PACT", "does not say which weights it speaks of"]
BY_HAND = ["segments: their trainings are", *UNREAD]


@pytest.mark.parametrize(
    ("name", "edit", "problems"),
    [
        (RECORD, lambda record: record.pop("segments"), ["segments is None"]),
        (RECORD, of_segment(0, first_step=0), ["contradicts itself", *UNREAD]),
        (RECORD, lambda record: record["segments"].pop(1), ["steps 3 to 4 of 6 were", "5 to 6 did not begin with"]),
        (RECORD, of_segment(1, last_step=3), ["steps 4 of 6 were trained without PACT"]),
        (RECORD, of_segment(1, first_step=2, optimizer_steps=3), []),
        (RECORD, of_segment(0, optimizer_steps=1), ["of steps 1 to 2 only 1 had their gradient checked"]),
        (RECORD, of_segment(1, gradient_receipts=0), [NOTHING]),
        (RECORD, of_segment(1, response_tokens=0), [NOTHING]),
        (RECORD, of_segment(1, gradient_receipts=1, response_tokens=1), []),
        (RECORD, of_segment(2, unchecked_moves=1), ["in steps 5 to 6 weights or gradients changed 1 times outside"]),
        (RECORD, of_segment(0, started_from="x"), ["steps 1 to 2 began with weights that had moved already"]),
        (RECORD, of_segment(1, started_from=None), ["3 to 4 did not begin with the weights that steps 1 to 2 ended"]),
        (RECORD, of_segment(1, started_from="x"), ["3 to 4 did not begin with the weights that steps 1 to 2 ended"]),
        (RECORD, of_segment(2, ended_with=None), ["does not say which weights it speaks of"]),
        (RECORD, of_segment(2, ended_with="x"), ["are not those that the run ended with (x)"]),
        (RECORD, of_segment(2, safety_tokens="x"), ["5 to 6 were held to other safety tokens than steps 3 to 4"]),
        (RECORD, of_segment(2, aligned_weights="x"), ["5 to 6 were held to other weights than steps 3 to 4"]),
        (RECORD, further_settings(1), ["3 to 4 had other settings", "5 to 6 had other settings"]),
        (RECORD, further_settings(3), ["added_2: None became 2", "added_2: 2 became None"]),
        (RECORD, further_settings(4), ["added_2: None became 2 and 1 more", "added_2: 2 became None and 1 more"]),
        (RECORD, trainings(1, 1, 2), ["steps 1 to 4 of 6 were trained without PACT"]),
        (RECORD, trainings(1, 1, 3), BY_HAND),
        (RECORD, trainings(1, 2, 1), BY_HAND),
        (RECORD, trainings(2, 2, 2), BY_HAND),
        (RECORD, lambda record: record["safety_tokens"].update(fingerprint="x"), ["holds other safety tokens"]),
        (STATE, of_log(1, "pact/kl"), ["the log of step 2 says nothing of the term"]),
        (STATE, of_log(1, "pact/kl", "loss"), []),
        (STATE, lambda state: state.update(global_step=True), ["global_step is True"]),
        (STATE, lambda state: state.update(global_step=-1), ["global_step is -1"]),
        (STATE, lambda state: state.update(global_step=0, log_history=None), []),
    ],
)
def test_what_does_not_fit_is_named(run, name, edit, problems):
    edited(run, name, edit)
    found = verify(run)
    assert found.is_protected is (not problems)
    assert len(found.problems) == len(problems), found.problems
    for line, problem in zip(found.problems, problems, strict=True):
        assert problem in line


def test_a_damaged_record_and_other_tokens(run):
    (run / "pact_safety_tokens.safetensors").unlink()
    assert verify(run).is_protected
    tiny_safety_tokens(seed=1).save(run / "pact_safety_tokens.safetensors")
    assert any("holds other safety tokens" in problem for problem in verify(run).problems)
    (run / "pact.json").write_text("{")
    assert any("pact.json cannot be read" in problem for problem in verify(run).problems)


def test_the_command(resumed, tmp_path):
    whole = CliRunner().invoke(command, [str(resumed)])
    assert (whole.exit_code, whole.output) == (0, "protected throughout: 6 of 6 optimizer steps, in 3 segments\n")
    machine = CliRunner().invoke(command, [str(resumed), "--json"])
    assert json.loads(machine.output)["protected"] is True
    nothing = CliRunner().invoke(command, [str(tmp_path)])
    assert nothing.exit_code == 1
    assert "no run under PACT has ended in this folder" in nothing.output


def test_a_kill_right_after_the_checkpoint_was_written_loses_nothing(tmp_path, model_path):
    """Between the trainer's last file of a checkpoint and anything that a callback could add to it."""
    from tests.helpers.trainers import RecordingTrainer

    class KilledWhileSaving(RecordingTrainer):
        def _save_checkpoint(self, *args, **kwargs):
            super()._save_checkpoint(*args, **kwargs)
            raise KilledError

    with pytest.raises(KilledError):
        trainer(tmp_path, model_path, trainer_class=KilledWhileSaving).train()
    trainer(tmp_path, model_path).train(resume_from_checkpoint=True)
    found = verify(tmp_path)
    assert (found.problems, found.protected_steps) == ([], 6)
    assert [(one.first_step, one.last_step) for one in found.segments] == [(1, 2), (3, 6)]


@pytest.mark.parametrize("left", [None, '{"global_step": 4'], ids=["missing", "truncated"])
def test_a_half_written_checkpoint_is_named_before_the_trainer_stumbles(run, model_path, caplog, left):
    shutil.rmtree(run / "checkpoint-6")
    (run / "pact.json").unlink()
    state = run / "checkpoint-4" / "trainer_state.json"
    state.unlink()
    if left is not None:
        state.write_text(left)
    with caplog.at_level("INFO"):
        again = trainer(run, model_path)
        assert "checkpoint-4 is half-written" in caplog.text
        assert "Remove that folder, and resume from checkpoint-2" in caplog.text
        with pytest.raises((FileNotFoundError, json.JSONDecodeError)):
            again.train(resume_from_checkpoint=True)
    shutil.rmtree(run / "checkpoint-4")
    caplog.clear()
    with caplog.at_level("INFO"):
        trainer(run, model_path).train(resume_from_checkpoint=True)
    assert "half-written" not in caplog.text
    assert verify(run).problems == []
