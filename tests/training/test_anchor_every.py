"""``anchor_every``: the same gradient in the mean, from a part of the steps."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.trainers import Watch, lora, pact, sft_trainer

pytestmark = pytest.mark.framework
STEPS = 4


def gradients(folder, every, adapter=None):
    """Of each step, weights standing still after a first move; ``every`` None is a run without an anchor."""
    watch = Watch(move=True)
    config = {"preset": "off", "anchor": {"replies": 4, "max_new_tokens": 4, "every": every}}
    trainer = sft_trainer(
        folder,
        adapter=adapter,
        callbacks=[watch] if every is None else [pact(config), watch],
        max_steps=STEPS,
        learning_rate=0.0,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
    )
    trainer.train()
    return [torch.cat([one.flatten() for one in step.values()]) for step in watch.gradients]


@pytest.mark.parametrize("adapter", [None, lora()], ids=["full", "lora"])
def test_every_second_step_has_twice_the_weight_and_the_others_none(tmp_path, adapter):
    plain, always, seldom = (gradients(tmp_path / str(every), every, adapter) for every in (None, 1, 2))
    # The first step draws the same replies for the same rows.
    torch.testing.assert_close(seldom[0] - plain[0], 2 * (always[0] - plain[0]), rtol=1e-3, atol=1e-5)
    for step in (0, 2):
        assert (seldom[step] - plain[step]).norm() > 1e-3
    for step in (1, 3):
        assert torch.equal(seldom[step], plain[step])
