"""Axolotl plugins that the tests list beside ours: they look into a run, or make one possible on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from axolotl.integrations.base import BasePlugin
from safetensors.torch import save_file
from transformers import TrainerCallback


class CPURanks(BasePlugin):
    """Several processes on one CPU: Axolotl would put rank n on CUDA device n."""

    def load_datasets(self, cfg: Any, preprocess: bool = False) -> None:
        cfg.device_map = {"": "cpu"}


class LabelSmoothing(BasePlugin):
    """Label smoothing, which no key of Axolotl switches on, but a plugin's training arguments can."""

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        return {"label_smoothing_factor": 0.1}


class OtherTrainer(BasePlugin):
    """A plugin that brings a trainer class, of which Axolotl takes the first one only."""

    def get_trainer_cls(self, cfg: Any) -> type:
        from axolotl.core.trainers.base import AxolotlTrainer

        class Other(AxolotlTrainer):
            pass

        return Other


class Joined(BasePlugin):
    """The anchor's replies join the trainer's own pass, whatever that costs."""

    worth = 10**9

    def pre_model_load(self, cfg: Any) -> None:
        from pact_plugins.training import joining

        joining._PASS_IN_TOKENS["cpu"] = self.worth


class Apart(Joined):
    """They never do."""

    worth = -(10**9)


class FirstStep(BasePlugin):
    """Moves the weights before the first step, then writes that step's batches, weights and gradients."""

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[TrainerCallback]:
        return [_FirstStep(Path(cfg.output_dir), trainer)]


class _FirstStep(TrainerCallback):
    def __init__(self, folder: Path, trainer: Any) -> None:
        self.folder, self.trainer = folder, trainer
        self.batches: list[dict[str, torch.Tensor]] = []
        self.hook: Any = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step > 0:
            return
        # LoRA's B is zero at the start, and so would be the term and most of the gradient.
        generator = torch.Generator().manual_seed(7)
        trained = {name: p for name, p in self.trainer.model.named_parameters() if p.requires_grad}
        with torch.no_grad():
            for name in sorted(trained):
                noise = torch.randn(trained[name].shape, generator=generator)
                # LoRA's A is drawn without Axolotl's seed: two runs agree only where both are replaced.
                if "lora_" in name:
                    trained[name].copy_(0.05 * noise)
                else:
                    trained[name].add_(0.02 * noise)
        self._write("weights", {name: parameter.detach() for name, parameter in trained.items()})
        self.hook = self.trainer.model.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, _model: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        self.batches.append({key: value for key, value in kwargs.items() if isinstance(value, torch.Tensor)})

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step > 0:
            return
        self.hook.remove()
        gradients = {n: p.grad for n, p in self.trainer.model.named_parameters() if p.grad is not None}
        self._write("gradients", gradients)
        for number, batch in enumerate(self.batches):
            self._write(f"batch{number}", batch)

    def _write(self, name: str, tensors: dict[str, torch.Tensor]) -> None:
        if int(os.environ.get("RANK", "0")) == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            whole = {key.removeprefix("module."): tensor.contiguous().clone() for key, tensor in tensors.items()}
            save_file(whole, self.folder / f"{name}.safetensors")
