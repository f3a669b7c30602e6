"""What must be known of the trainer that calls us; trainers and settings that we cannot ride on, refused by name."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from transformers import DefaultFlowCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler

from pact_plugins.distributed import accelerator_state
from pact_plugins.errors import ConfigurationError

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig

# Losses that a trainer makes from the logits itself, from which no single response can be taken out.
_OWN_LOSSES = (
    "label_smoothing_factor",
    "use_dft_loss",
    "use_eaft_loss",
    "use_asft_loss",
    "use_eaft",
    "compute_loss_func",
)


def own_loss_of(trainer: Any) -> str:
    """The setting which makes ``trainer`` compute a loss of its own."""
    places = [trainer.args, getattr(trainer, "finetuning_args", None), getattr(trainer, "axolotl_cfg", None), trainer]
    named = next((name for name in _OWN_LOSSES for place in places if getattr(place, name, None)), None)
    return named or "this trainer"


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


def refuse_data_parallel(args: TrainingArguments) -> None:
    """Raise ConfigurationError where one process would split its batches over several GPUs."""
    if args.n_gpu > 1:
        raise ConfigurationError(
            f"{args.n_gpu} GPUs in one process (DataParallel) are not supported; start with accelerate launch or "
            "torchrun, or show one GPU (CUDA_VISIBLE_DEVICES)"
        )


def refuse_two_best_checkpoints(args: TrainingArguments, config: PACTConfig) -> None:
    """A trainer knows one best checkpoint; raise ConfigurationError where it chooses that itself."""
    keeps = bool(config.drift_watch and config.drift_watch.keep_best)
    if keeps and args.metric_for_best_model is not None:
        raise ConfigurationError(
            f"drift_watch.keep_best and metric_for_best_model: {args.metric_for_best_model} (load_best_model_at_end "
            "sets it too) would both choose the trainer's best checkpoint; drop one of them"
        )


def take_first_place(callback: TrainerCallback, frame: Any) -> None:
    """Move ``callback`` to the front of the handler that is calling it; two of its kind are an error.

    A trainer puts its reporting callbacks (W&B, TensorBoard) before the user's, and hands callbacks no reference to
    itself or to the handler: without this, reporters would see the log line before our values are on it. Where the
    caller is not a plain handler, nothing happens: progress bar, printer and ``trainer_state.json`` come later anyway.
    """
    while frame is not None:
        handler = frame.f_locals.get("self")
        if isinstance(handler, CallbackHandler):
            others = [other for other in handler.callbacks if other is not callback]
            if any(isinstance(other, type(callback)) for other in others):
                raise ConfigurationError("the trainer has two PACTCallbacks, which would both add a term; keep one")
            # A new list: the handler is iterating over the old one.
            handler.callbacks = [callback, *others]
            return
        frame = frame.f_back


def will_save(args: TrainingArguments, state: TrainerState, control: TrainerControl, event: str) -> bool:
    """Whether the trainer will write a checkpoint after ``event``.

    We come first among the callbacks, so that its own flow, which decides it, has not spoken yet.
    """
    foreseen = copy.copy(control)
    getattr(DefaultFlowCallback(), event)(args, state, foreseen)
    return foreseen.should_save


def precision_of(args: TrainingArguments) -> torch.dtype | None:
    """Of the autocast around the forward pass: the trainer's, or accelerate's as it was launched; None without."""
    told = "bf16" if args.bf16 else "fp16" if args.fp16 else None
    launched = getattr(accelerator_state(), "mixed_precision", None)
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(told or str(launched))


def loss_scale_of(optimizer: Any) -> float:
    """The factor on the loss: a gradient scaler's, 1 without one."""
    scaler = getattr(optimizer, "scaler", None)
    if scaler is not None:
        return float(scaler.get_scale())
    engine_scale = getattr(getattr(optimizer, "optimizer", None), "loss_scale", None)
    return 1.0 if engine_scale is None else float(engine_scale)


def suspects(args: TrainingArguments) -> str:
    """Settings that may be at fault where the term misses the loss, in words."""
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
