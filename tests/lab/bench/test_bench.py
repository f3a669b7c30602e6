"""The measurements themselves, on a model of a few thousand parameters."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pact_lab.bench.calibration import measure_calibration
from pact_lab.bench.cases import (
    ANCHOR,
    DEFAULT,
    GATE,
    GUARD,
    NAIVE,
    ONLINE_FULL,
    ONLINE_LORA,
    PLAIN,
    PLAIN_LOGITS,
    REFERENCE_CHECK,
    WATCH,
    WATCH_GREEDY,
    Case,
)
from pact_lab.bench.profiles import breakdown, operation_times
from pact_lab.bench.subject import build_trainer
from pact_lab.bench.turns import take_turns

pytestmark = pytest.mark.framework

CASE = Case(size="tiny", vocab_size=2048, sequence_length=32, safety_tokens=10)


def test_trainers_take_turns_on_the_same_rows(tmp_path):
    modes = (PLAIN, ONLINE_LORA, PLAIN_LOGITS, NAIVE, GATE, ANCHOR, DEFAULT, GUARD)
    trainers = {mode: build_trainer(CASE, mode, steps=3, folder=tmp_path) for mode in modes}
    timings = take_turns(trainers, warmup=1, steps=2)
    for mode, timing in timings.items():
        assert len(timing.wall) == len(timing.cpu) == 2
        assert min(timing.wall) > 0
        assert trainers[mode].state.global_step == 3
    weights = {mode: trainers[mode].model.state_dict() for mode in modes}
    assert weights[PLAIN].keys() == weights[NAIVE].keys()
    for name, weight in weights[PLAIN].items():
        torch.testing.assert_close(weights[PLAIN_LOGITS][name], weight, rtol=1e-3, atol=1e-5, msg=name)
    assert any((weights[PLAIN][name] - weights[NAIVE][name]).abs().max() > 1e-4 for name in weights[PLAIN])


def test_checks_leave_the_weights_alone(tmp_path):
    case = replace(CASE, checks=True)
    trainers = {mode: build_trainer(case, mode, steps=2, folder=tmp_path) for mode in case.modes}
    take_turns(trainers, warmup=1, steps=1)
    plain = trainers[PLAIN].model.state_dict()
    protected = trainers[ONLINE_LORA].model.state_dict()
    checked = trainers[REFERENCE_CHECK].model.state_dict()
    assert all(torch.equal(weight, protected[name]) for name, weight in checked.items())
    for mode in (WATCH, WATCH_GREEDY):
        history = trainers[mode].state.log_history
        assert [entry["step"] for entry in history if "pact/drift" in entry] == [0, 1, 2]
        assert all(torch.equal(weight, plain[name]) for name, weight in trainers[mode].model.state_dict().items())


def test_half_of_every_row_is_response(tmp_path):
    trainer = build_trainer(CASE, PLAIN, steps=1, folder=tmp_path)
    labels = next(iter(trainer.get_train_dataloader()))["labels"]
    assert labels.shape == (CASE.batch_size, CASE.sequence_length)
    assert (labels != -100).sum(1).tolist() == [CASE.sequence_length // 2] * CASE.batch_size


def test_an_error_in_one_trainer_is_raised(tmp_path):
    trainer = build_trainer(CASE, PLAIN, steps=2, folder=tmp_path)

    def broken(*_, **__):
        raise RuntimeError("the loss is broken")

    trainer.compute_loss = broken
    with pytest.raises(RuntimeError, match="the loss is broken"):
        take_turns({PLAIN: trainer}, warmup=1, steps=1)


@pytest.mark.matrix
def test_calibration_finds_what_the_naive_one_finds():
    row = measure_calibration(CASE, refusals=6)
    assert row["largest_difference"] < 1e-5
    assert 0 < row["scoring_seconds"] < row["seconds"]
    assert 0 < row["naive_scoring_seconds"] < row["naive_seconds"]
    assert row["throughput_ratio"] > 0
    assert row["scoring_ratio"] > 0
    assert len(row["throughput_ratios"]) == 3


@pytest.mark.matrix
def test_lora_modes_share_their_frozen_weights_and_full_ones_do_not(tmp_path):
    def weights(training, mode):
        trainer = build_trainer(replace(CASE, training=training), mode, steps=1, folder=tmp_path)
        return trainer, {name: weight.data_ptr() for name, weight in trainer.model.named_parameters()}

    (_a, first), (_b, second) = weights("lora", PLAIN), weights("lora", ONLINE_LORA)
    assert {name for name in first if first[name] == second[name]} == {name for name in first if "lora_" not in name}
    (_c, first), (_d, second) = weights("full", PLAIN), weights("full", ONLINE_FULL)
    assert not set(first.values()) & set(second.values())


@pytest.mark.matrix
def test_what_is_profiled_leaves_the_first_steps_out(tmp_path):
    times = {
        mode: operation_times(build_trainer(CASE, mode, steps=3, folder=tmp_path), skipped=2)
        for mode in (PLAIN, ONLINE_LORA)
    }
    # Of three steps instead of one.
    longer = operation_times(build_trainer(CASE, PLAIN, steps=3, folder=tmp_path), skipped=0)
    assert longer["aten::mm"] > 1.5 * times[PLAIN]["aten::mm"]
    table = breakdown(times[PLAIN], times[ONLINE_LORA], steps=1)
    assert "| `all operations` |" in table


def test_micro_batches_of_a_step(tmp_path):
    trainer = build_trainer(replace(CASE, accumulation=3), PLAIN, steps=2, folder=tmp_path)
    assert len(trainer.train_dataset) == 2 * 3 * CASE.batch_size
    trainer.train()
    assert trainer.state.global_step == 2


@pytest.mark.parametrize("changed", [{"packing": True}, {"stateless": True, "training": "full"}])
def test_unusual_cases_are_measured_in_every_mode(tmp_path, changed):
    case = replace(CASE, batch_size=1, sequence_length=64, parts="packing" in changed, **changed)
    trainers = {mode: build_trainer(case, mode, steps=2, folder=tmp_path) for mode in case.modes}
    assert {PLAIN_LOGITS, NAIVE}.isdisjoint(trainers)
    timings = take_turns(trainers, warmup=1, steps=1)
    assert all(trainer.state.global_step == 2 for trainer in trainers.values())
    assert set(timings) == set(case.modes)


def test_packed_rows_fill_their_sequences(tmp_path):
    case = replace(CASE, batch_size=1, sequence_length=64, packing=True)
    trainer = build_trainer(case, PLAIN, steps=3, folder=tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["labels"].shape == (1, 64)
    assert (batch["position_ids"] == 0).sum() >= 2
    assert len(trainer.train_dataset) == 3


def test_stateless_training_holds_no_moments(tmp_path):
    trainer = build_trainer(replace(CASE, training="full", stateless=True), PLAIN, steps=1, folder=tmp_path)
    trainer.train()
    assert not any(trainer.optimizer.state.values())
