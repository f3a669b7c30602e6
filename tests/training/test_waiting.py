"""How often a run with PACT waits for the device: once an optimizer step, beside what the decoder itself does."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from transformers import TrainerCallback

from tests.helpers.guarded import tokens_with_long_openings
from tests.helpers.trainers import lora, pact, sft_trainer
from tests.helpers.waiting import counted_reads

pytestmark = pytest.mark.framework

# Behind the receipts nothing is queued but the norms that the weight watch reads.
ONCE_A_STEP = {"training/receipts.py": 1, "training/weight_watch.py": 2}
ONLINE = {"check_every": 0}
CACHE = {"kind": "cache", **ONLINE}
ANCHOR = {"replies": 4, "max_new_tokens": 4}


class Steps(TrainerCallback):
    """How many reads there were when each optimizer step began."""

    def __init__(self, counter):
        self.counter, self.begun = counter, []

    def on_step_begin(self, args, state, control, **kwargs):
        self.begun.append(len(self.counter.reads))


def reads_of_a_step(tmp_path, monkeypatch, config, adapter):
    """Where our code read a value of the device in the second step of two micro-batches: a count a module."""
    with counted_reads(monkeypatch) as counter:
        steps = Steps(counter)
        sft_trainer(
            tmp_path,
            adapter=adapter,
            callbacks=[pact({"reference": ONLINE, **config}, safety_tokens=tokens_with_long_openings()), steps],
            max_steps=3,
            gradient_accumulation_steps=2,
            per_device_train_batch_size=2,
            logging_steps=100,
        ).train()
    reads = counter.reads[steps.begun[1] : steps.begun[2]]
    return Counter(read.split(":")[0].split(" ", 1)[1] for read in reads)


@pytest.mark.parametrize(
    ("config", "adapter"),
    [
        pytest.param({"reference": CACHE}, lora(), id="cache"),
        pytest.param({"reference": CACHE, "preset": "published"}, lora(), id="published from the cache"),
        pytest.param({"preset": "gate_anchor", "anchor": ANCHOR}, lora(), id="gate and anchor"),
        pytest.param({"reference": CACHE, "preset": "guard", "anchor": ANCHOR}, lora(), id="guard from the cache"),
    ],
)
def test_one_read_an_optimizer_step(tmp_path, monkeypatch, config, adapter):
    assert reads_of_a_step(tmp_path, monkeypatch, config, adapter) == ONCE_A_STEP


@pytest.mark.parametrize("adapter", [lora(), None], ids=["lora", "full"])
def test_a_pass_of_the_references_adds_what_transformers_reads_in_it(tmp_path, monkeypatch, adapter):
    reads = reads_of_a_step(tmp_path, monkeypatch, {}, adapter)
    within = {name: reads.pop(name) for name in list(reads) if name.startswith("transformers ")}
    assert reads == ONCE_A_STEP
    # It looks at a padded batch's mask to see whether it can do without, in the trainer's own pass too.
    assert within.keys() == {"transformers reference/online.py"}
    assert max(within.values()) <= 4


def test_the_counter_sees_what_it_should(monkeypatch):
    from pact_plugins.batch import responses as room

    labels = torch.tensor([[-100, 5, 6]])
    with counted_reads(monkeypatch) as counter:
        moved = counter.forget(labels)
        room.find_responses(moved)
        assert [read.split()[0] for read in counter.reads] == ["cpu"]
        room.begin_copy = None
        moved._copy_was_begun = True
        room.find_responses(moved)
    assert len(counter.reads) == 1
