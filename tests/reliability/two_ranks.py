"""A training of two ranks, one of which is killed: ``python -m tests.reliability.two_ranks OUT`` under torchrun."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from transformers.trainer_utils import get_last_checkpoint

from tests.helpers.trainers import lora, pact, sft_trainer


def main() -> None:
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    (out / f"rank{os.environ['RANK']}.pid").write_text(str(os.getpid()))
    saving = {"save_strategy": "steps", "save_steps": 20, "save_total_limit": 2}
    steps = int(os.environ.get("MAX_STEPS", "100000"))

    trainer = sft_trainer(
        out / "out",
        adapter=lora(),
        callbacks=[pact()],
        max_steps=steps,
        per_device_train_batch_size=2,
        ddp_backend="gloo",
        lr_scheduler_type="constant",
        **saving,
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(out / "out")) if (out / "out").is_dir() else None)


if __name__ == "__main__":
    main()
