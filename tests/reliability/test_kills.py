"""TRL: killed at random moments, a run ends bit for bit as if nothing had happened."""

from __future__ import annotations

from functools import partial

import datasets
import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTTrainer

from pact_lab import tiny_world
from pact_plugins import PACTCallback
from tests.helpers.trainers import arguments
from tests.reliability.counts import record
from tests.reliability.kills import Training, killed_and_resumed
from tests.reliability.modes import COMBINATIONS, KEPT, KILLS, SAVE_EVERY, STEPS, pact_settings

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(7200)]


def train(config, trained):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    path = tiny_world.aligned_path()
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32),
        args=arguments(
            "out",
            max_steps=STEPS,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            learning_rate=1e-3,
            save_strategy="steps",
            save_steps=SAVE_EVERY,
            save_total_limit=KEPT,
        ),
        train_dataset=datasets.Dataset.from_list(tiny_world.finetuning_rows(80, harmful_fraction=0.1, seed=1)),
        processing_class=AutoTokenizer.from_pretrained(path),
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear") if trained == "lora" else None,
        callbacks=[PACTCallback(config)],
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint("out"))
    trainer.save_model("out")


@pytest.mark.parametrize(("trained", "mode"), COMBINATIONS)
def test_killed_and_resumed(tmp_path, trained, mode):
    start = partial(train, pact_settings(tmp_path / "files", mode), trained)
    run, whole = Training(tmp_path / "run", start), Training(tmp_path / "whole", start)
    found = killed_and_resumed(run, whole, kills=KILLS, seed=COMBINATIONS.index((trained, mode)))
    assert found.kills == KILLS
    record(f"kills, TRL, {trained}, {mode}", **found.counts())
