"""Ways in which the term could miss the loss, or the reference be wrong: one injection each, and what must come of it.

``benchmarks/reliability.md`` shows them; the test of this folder runs every one and compares the page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainerCallback

from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.trainers import RecordingTrainer, lora, pact, sft_trainer

HARMLESS = "harmless"


@dataclass(frozen=True)
class Fault:
    """One way to go wrong.

    Attributes:
        what: for the table.
        outcome: a piece of the error that stops training before the optimizer moves; ``HARMLESS`` where training goes
            on and every step is protected.
        inject: called with the trainer before it trains.
        at_step: optimizer steps that were done when training stops.
        settings: of ``sft_trainer``.
        config: of PACT.
    """

    what: str
    outcome: str
    inject: Callable[[Any], None] = lambda trainer: None
    at_step: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


class AtStep(TrainerCallback):
    """Does something to the model when a step begins."""

    def __init__(self, step: int, act: Callable[[Any], None]) -> None:
        self.step, self.act = step, act

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step == self.step:
            self.act(model)


def at(step: int, act: Callable[[Any], None]) -> Callable[[Any], None]:
    return lambda trainer: trainer.add_callback(AtStep(step, act))


def recomputed(model: Any, inputs: Any) -> torch.Tensor:
    logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten())


class Recomputing(RecordingTrainer):
    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        super().compute_loss(model, dict(inputs), num_items_in_batch=num_items_in_batch)
        return recomputed(model, inputs)


class Scaled(RecordingTrainer):
    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return 0.1 * super().compute_loss(*args, **kwargs)


class Halved(RecordingTrainer):
    """Recomputes every other micro-batch."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if len(self.micro_batches) % 2:
            return super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        return recomputed(model, inputs) / 2


class WithoutGradient(RecordingTrainer):
    """The labelled pass gives the log, another one the gradient."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        with torch.no_grad():
            super().compute_loss(model, dict(inputs), num_items_in_batch=num_items_in_batch)
        return recomputed(model, inputs)


def own_loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
    logits = outputs.logits[:, :-1].flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum") / num_items_in_batch


def replaces_outputs(trainer: Any) -> None:
    """A hook that comes after ours and hands on a loss from before it."""

    def replace(_module: Any, _args: Any, kwargs: Any, output: Any) -> Any:
        if kwargs.get("labels") is not None:
            zero = 0 * next(p for p in _module.parameters() if p.requires_grad).sum()
            for name in ("loss", "log_probs"):
                if getattr(output, name, None) is not None:
                    setattr(output, name, getattr(output, name).detach() + zero)
        return output

    trainer.add_callback(AtStep(0, lambda model: model.register_forward_hook(replace, with_kwargs=True) and None))


def without_hooks(model: Any) -> None:
    for module in model.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()


def wrapped_forward(model: Any) -> None:
    """As compilers and profilers do."""
    original = model.forward
    model.forward = lambda *args, **kwargs: original(*args, **kwargs)


def moved_base(model: Any) -> None:
    with torch.no_grad():
        next(p for name, p in model.named_parameters() if "down_proj.base_layer" in name).add_(0.05)


def adapter_kept_on(model: Any) -> None:
    """A switch that no longer switches."""
    for module in model.modules():
        if hasattr(module, "enable_adapters"):
            module.enable_adapters = lambda enabled: None


def replaced_compute_loss(trainer: Any) -> None:
    trainer.compute_loss = lambda model, inputs, *args, **kwargs: recomputed(model, inputs)


def fails_once(trainer: Any) -> None:
    """An exception in the first step; the caller tries again."""
    original, failed = trainer.training_step, []

    def step(*args: Any, **kwargs: Any) -> Any:
        if not failed:
            failed.append(True)
            raise RuntimeError("out of memory, say")
        return original(*args, **kwargs)

    trainer.training_step = step
    try:
        trainer.train()
    except RuntimeError:
        return
    raise AssertionError("the step did not fail")


def late(trainer: Any) -> None:
    """The callback comes when training has begun."""
    (callback,) = [given for given in trainer.callback_handler.callbacks if type(given).__name__ == "PACTCallback"]
    trainer.remove_callback(callback)

    class Late(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            if callback not in trainer.callback_handler.callbacks:
                trainer.add_callback(callback)

    trainer.add_callback(Late())


def other_tokenizer(trainer: Any) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"new{number}" for number in range(3)])
    vocabulary = tokenizer.get_vocab()
    tokenizer.get_vocab = lambda: {token: (index * 7) % 360 for token, index in vocabulary.items()}  # type: ignore
    trainer.processing_class = trainer.callback_handler.processing_class = tokenizer


LORA = {"adapter": lora()}
EVALUATED = {"eval_rows": [], "eval_strategy": "steps", "eval_steps": 1}

FAULTS = {
    "later hook": Fault("a later hook replaces the loss", "no gradient came back", replaces_outputs),
    "hooks removed": Fault("somebody clears the model's hooks", "was never computed", at(0, without_hooks)),
    "hooks removed later": Fault(
        "the same after the first step", "was never computed", at(1, without_hooks), at_step=1
    ),
    "forward wrapped": Fault("`forward` is wrapped after the start", HARMLESS, at(1, wrapped_forward)),
    "compute_loss replaced": Fault(
        "`compute_loss` is replaced by one that recomputes", "was never computed", replaced_compute_loss
    ),
    "recomputed": Fault(
        "the loss is recomputed from the logits", "no gradient came back", settings={"trainer_class": Recomputing}
    ),
    "scaled": Fault("the loss is scaled", "total weight of 0.2 instead of 2", settings={"trainer_class": Scaled}),
    "every other micro-batch": Fault(
        "every other micro-batch is recomputed",
        "total weight of",
        settings={"trainer_class": Halved, "gradient_accumulation_steps": 2},
    ),
    "no gradient": Fault(
        "the labelled pass runs under `torch.no_grad`",
        "was never computed",
        settings={"trainer_class": WithoutGradient},
    ),
    "loss function": Fault(
        "`compute_loss_func` of the user's own",
        "was never computed",
        settings={"trainer_settings": {"compute_loss_func": own_loss}},
    ),
    "label smoothing": Fault(
        "`label_smoothing_factor`", "label_smoothing_factor > 0", settings={"label_smoothing_factor": 0.1}
    ),
    "dft": Fault("`loss_type: dft`", "weights each token's loss", settings={"loss_type": "dft"}),
    "neftune": Fault("NEFTune's noise", "neftune_noise_alpha", settings={"neftune_noise_alpha": 5.0}),
    "two callbacks": Fault(
        "two callbacks",
        "two PACTCallbacks",
        lambda trainer: trainer.add_callback(pact({"preset": "match", "term": {"weight": 1.0}})),
    ),
    "late": Fault("the callback is added while training", "added after training had begun", late, at_step=1),
    "other tokenizer": Fault("safety tokens of another tokenizer", "another tokenizer", other_tokenizer),
    "base moved": Fault(
        "a base weight is changed by hand",
        "the reference is no longer the aligned model at step 1",
        at(0, moved_base),
        at_step=1,
        settings=LORA,
    ),
    "merged": Fault(
        "the adapter is merged while training",
        "nothing which trains can be held by it",
        at(1, lambda model: model.merge_adapter()),
        at_step=1,
        settings=LORA,
    ),
    "left on": Fault(
        "the adapter's switch stops working",
        "the reference is no longer the aligned model",
        at(1, adapter_kept_on),
        at_step=2,
        settings=LORA,
    ),
    "frozen": Fault(
        "everything is frozen",
        "nothing which trains can be held by it",
        at(0, lambda model: model.requires_grad_(False) and None),
    ),
    "used adapter": Fault(
        "the adapter already holds weights",
        "needs a fresh adapter",
        lambda trainer: (
            [
                torch.nn.init.normal_(parameter)
                for name, parameter in trainer.model.named_parameters()
                if "lora_B" in name
            ]
            and None
        ),
        settings=LORA,
    ),
    "biases": Fault(
        "`bias: all`: what trains is there when the adapter is off; a copy is taken",
        HARMLESS,
        settings={"adapter": lora(bias="all")},
    ),
    "biases, adapter_off": Fault(
        "the same under `reference: adapter_off`",
        "would hold training to a model that moves",
        settings={"adapter": lora(bias="all"), "make_model": "biased"},
        config={"reference": {"kind": "adapter_off"}},
    ),
    "evaluation": Fault("evaluation in between", HARMLESS, settings=EVALUATED),
    "checkpointing": Fault("gradient checkpointing", HARMLESS, settings={"gradient_checkpointing": True}),
    "twice": Fault("`train()` twice", HARMLESS, lambda trainer: trainer.train() and None, settings=LORA),
    "retried": Fault("an exception, and another try", HARMLESS, fails_once, settings=LORA),
    "accumulation": Fault(
        "accumulation over uneven micro-batches",
        HARMLESS,
        settings={"gradient_accumulation_steps": 4, "per_device_train_batch_size": 1},
    ),
    "trainable base": Fault(
        "norms are made trainable beside LoRA; a copy is taken",
        HARMLESS,
        settings={"adapter": lora(), "train_norms": True},
    ),
}


def trainer_of(fault: Fault, folder: Any) -> Any:
    """Ready to train; the fault not injected yet."""
    from tests.helpers.tiny import tiny_llama
    from tests.helpers.trainers import rows

    settings = {"max_steps": 3, **fault.settings}
    if "eval_rows" in settings:
        settings["eval_rows"] = rows(4, seed=2)
    if settings.pop("make_model", None):
        settings["model"] = tiny_llama(attention_bias=True, mlp_bias=True)
    norms = settings.pop("train_norms", False)
    trainer = sft_trainer(folder, callbacks=[pact({"reference": {"check_every": 1}, **fault.config})], **settings)
    if norms:
        for name, parameter in trainer.model.named_parameters():
            if "norm" in name:
                parameter.requires_grad_(True)
    return trainer


def table() -> str:
    """Markdown."""
    lines = ["| what happens | what comes of it |", "|---|---|"]
    for fault in FAULTS.values():
        came = "nothing: every step is protected" if fault.outcome == HARMLESS else f"training stops: “{fault.outcome}”"
        lines.append(f"| {fault.what} | {came} |")
    return "\n".join(lines)
