"""Trainers and settings that the term cannot ride on: refused by name, before the first step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import Trainer, TrainingArguments

from pact_plugins.errors import ConfigurationError

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig

# Losses that a trainer makes from the logits itself: in them the row gate has no handle on a single response.
_OWN_LOSSES = (
    "label_smoothing_factor",
    "use_dft_loss",
    "use_eaft_loss",
    "use_asft_loss",
    "use_eaft",
    "compute_loss_func",
)


def refuse_own_loss(trainer: Any, config: PACTConfig) -> None:
    """Raise ConfigurationError that names the setting which makes ``trainer`` compute a loss of its own."""
    places = [trainer.args, getattr(trainer, "finetuning_args", None), getattr(trainer, "axolotl_cfg", None), trainer]
    named = next((name for name in _OWN_LOSSES for place in places if getattr(place, name, None)), None)
    raise ConfigurationError(
        f"gate_training_rows: {config.gate_training_rows} weighs the framework's own cross-entropy, but "
        f"{named or 'this trainer'} computes a loss of its own, from which no single response can be taken out. "
        "Use the framework's plain loss, or take the rows out of the data: `pact audit MODEL DATA --filtered FILE`, "
        "with gate_training_rows: report or off"
    )


# TRL's trainers whose loss is not the cross-entropy of responses to be learnt, by the names of their settings.
_OTHER_TRAINERS = (
    *("DPO", "KTO", "ORPO", "CPO", "BCO", "GRPO", "RLOO", "PPO", "Reward", "PRM", "OnlineDPO", "XPO", "NashMD"),
    *("GKD", "MiniLLM", "Distillation"),
)


def refuse_other_trainers(args: TrainingArguments) -> None:
    """Raise ConfigurationError for settings that belong to one of them."""
    for kind in type(args).__mro__:
        if kind.__name__.removesuffix("Config") in _OTHER_TRAINERS and kind.__module__.startswith("trl."):
            raise ConfigurationError(
                f"{kind.__name__} belongs to a trainer that does not simply learn responses (it prefers, rewards or "
                "distils), so that a term on response tokens would push some away from the reference; PACT supports "
                "supervised fine-tuning (SFTTrainer, Trainer)"
            )


def refuse_bypassed_outputs(args: TrainingArguments) -> None:
    """Settings under which trainers compute a loss outside the model, where outputs are not what is back-propagated."""
    if getattr(args, "label_smoothing_factor", 0):
        raise ConfigurationError(
            "label_smoothing_factor > 0 makes the trainer compute its loss outside the model, where the term would not "
            "reach it; set it to 0, or construct PACTCallback(config, trainer=trainer) and add it with "
            "trainer.add_callback"
        )
    if getattr(args, "loss_type", "nll") == "dft":
        raise ConfigurationError("loss_type='dft' weights each token's loss, the term's too; use loss_type='nll'")
    if args.n_gpu > 1:
        raise ConfigurationError(
            f"{args.n_gpu} GPUs in one process (DataParallel) are not supported; start with accelerate launch or "
            "torchrun, or show one GPU (CUDA_VISIBLE_DEVICES)"
        )


def suspects(args: TrainingArguments) -> str:
    """What may have kept the term from the loss, for an error message."""
    named = [
        name
        for name, suspicious in (
            ("label_smoothing_factor", bool(getattr(args, "label_smoothing_factor", 0))),
            ("loss_type", getattr(args, "loss_type", "nll") not in ("nll", "chunked_nll")),
        )
        if suspicious
    ]
    culprits = f"suspect: {', '.join(named)}." if named else "suspect: compute_loss_func or a trainer of your own."
    return f"{culprits} Use the trainer's own loss, or PACTCallback(config, trainer=trainer)."


def calling_trainer(frame: Any) -> Trainer | None:
    """The trainer in whose method this call began; callbacks are handed none. None where no trainer called."""
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, Trainer):
            return caller
        frame = frame.f_back
    return None
