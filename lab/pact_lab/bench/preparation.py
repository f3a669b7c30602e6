"""What a run does before its first step, on the real model's model: ``python -m pact_lab.bench.preparation``.

Processor seconds of one thread, which another process beside it hardly changes, and tokens that the decoder reads.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import click
import torch
from transformers import set_seed

from pact_lab.compare.natural_subject import NaturalSubject
from pact_lab.compare.scenario import NATURAL_SCENARIOS
from pact_lab.finetuning.training import Training, make_trainer
from pact_plugins import PACTCallback, PACTConfig
from pact_plugins.modeling import model_parts_of


class Measured(PACTCallback):
    """Stops before the first step."""

    seconds, tokens = 0.0, 0

    def on_train_begin(self, *arguments: Any, **kwargs: Any) -> None:
        decoder = model_parts_of(kwargs["model"]).decoder
        handle = decoder.register_forward_pre_hook(self._count, with_kwargs=True)
        began = time.process_time()
        super().on_train_begin(*arguments, **kwargs)
        self.seconds = time.process_time() - began
        handle.remove()
        raise KeyboardInterrupt

    def _count(self, _module: Any, arguments: Any, kwargs: Any) -> None:
        self.tokens += (arguments[0] if arguments else kwargs["input_ids"]).numel()


@click.command()
@click.option("--preset", default="gate_anchor", show_default=True)
@click.option("--scenario", default="sums-p05", show_default=True, type=click.Choice(list(NATURAL_SCENARIOS)))
def main(preset: str, scenario: str) -> None:
    """Prepare a run of the real model with an empty cache, and again with what the first one has kept."""
    torch.set_num_threads(1)
    tuning = NATURAL_SCENARIOS[scenario].tuning
    with tempfile.TemporaryDirectory() as name:
        subject = NaturalSubject(Path(name), limit=1)
        rows = subject.rows(NATURAL_SCENARIOS[scenario], 0)
        for when in ("with nothing kept", "again"):
            model, tokenizer = subject.load()
            set_seed(0)
            measured = Measured(PACTConfig(preset=preset, reference={"cache_path": name}))
            trainer = make_trainer(model, tokenizer, Training(rows, None, tuning, 0, Path(name) / "run"), [measured])
            try:
                trainer.train()
            except KeyboardInterrupt:
                click.echo(f"{preset}, {scenario}, {when}: {measured.seconds:.0f} s, {measured.tokens:,} tokens")


if __name__ == "__main__":
    main()
