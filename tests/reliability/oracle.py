"""A training run watched, and what term and anchor should have added to each of its gradients, by plain autograd."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from pact_plugins import PACTCallback
from pact_plugins.errors import PACTError
from pact_plugins.run_record import read_run_record
from pact_plugins.settings import merged
from tests.helpers.plain_trainer import COEFFICIENT, IGNORED, TEMPERATURE, TERM, collate, rows_of
from tests.helpers.tiny import tiny_llama, tiny_safety_tokens, tiny_tokenizer
from tests.helpers.trainers import Watch, arguments

ANCHOR = 0.7
BOTH = merged(TERM, {"anchor": {"replies": 4, "share": 1, "weight": ANCHOR, "max_new_tokens": 5}})
LENGTHS = (3, 17, 6, 9, 1, 12, 5, 8)
_UNREAD = ("labels", "num_items_in_batch", "completion_mask", "assistant_masks", "seq_lengths", "return_loss")


@dataclass(frozen=True)
class Situation:
    """One way to train a model.

    Attributes:
        model: makes the aligned model, the same one each time.
        adapt: from it to what is trained.
        data: rows of token ids, or those of TRL.
        trainer: its class; one of TRL's takes rows of text.
        settings: of its arguments.
        options: of its own, such as a collator.
        callbacks: made anew for each run.
        pact: settings of PACT beside term and anchor.
        change: what is done to the trainer before it trains.
        outside: PACT joins the trainer's loss and not the model's outputs.
        own_means: the model ignores the number of all labels.
        is_clipped: gradients are compared up to one factor.
        has_optimizer: weights move in between, so that the cross-entropy's gradient is autograd's too.
        tolerance: of a gradient, as a share of the largest.
        wanted: "exact", or a piece of the message by which PACT refuses.
        unchecked: whether weights move that no receipt speaks of, so that the run counts as unprotected.
    """

    model: Callable[[], Any] = tiny_llama
    adapt: Callable[[Any], Any] = lambda model: model
    data: Any = tuple(rows_of(LENGTHS))
    trainer: type[Trainer] = Trainer
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    callbacks: Callable[[], list[Any]] = list
    pact: Mapping[str, Any] = field(default_factory=dict)
    change: Callable[[Any], None] = lambda trainer: None
    outside: bool = False
    own_means: bool = False
    is_clipped: bool = False
    has_optimizer: bool = False
    tolerance: float = 2e-3
    wanted: str = "exact"
    unchecked: bool = False


class Recorder(Watch):
    """Keeps the micro-batches of each step, with the trainer's own number, and the replies that it was anchored to."""

    def __init__(self, callback: PACTCallback | None) -> None:
        super().__init__(move=True)
        self._callback, self._is_on = callback, False
        self.windows: list[list[tuple[dict[str, Any], Any]]] = [[]]
        self.replies: list[list[Any]] = []
        self.drawn: list[Any] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        super().on_step_begin(*args, **kwargs)
        if self._callback is not None and not self._is_on:
            self._is_on = True
            for part in self._callback._preparation.parts:
                if part.name == "anchor":
                    self._listen(part)

    def _listen(self, part: Any) -> None:
        original = part._drawn

        def drawn(*args: Any) -> Any:
            found = original(*args)
            self.drawn = [part.anchors.sequences[index] for index in found]
            return found

        part._drawn = drawn

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().on_pre_optimizer_step(*args, **kwargs)
        self.windows.append([])
        self.replies.append(self.drawn)


@dataclass(frozen=True)
class Held:
    """A run and what PACT says of it."""

    seen: Recorder
    trainer: Any
    callback: PACTCallback | None


def run(situation: Situation, folder: Path, config: Mapping[str, Any] | None) -> Held:
    """Train once, with PACT or without."""
    is_text = hasattr(situation.trainer, "_prepare_dataset")
    kept: list[Any] = []

    class Recording(situation.trainer):  # type: ignore[misc, name-defined]
        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
            copied = {name: v.clone() if isinstance(v, Tensor) else v for name, v in inputs.items()}
            kept[0].windows[-1].append((copied, num_items_in_batch))
            return super().training_step(model, inputs, num_items_in_batch, **kwargs)

    defaults = {
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 0.01 if situation.has_optimizer else 0.0,
        "weight_decay": 0.0,
        "remove_unused_columns": is_text,
    }
    of_sft = {**vars_of(arguments(folder)), **defaults, **situation.settings}
    options: dict[str, Any] = {"processing_class": tiny_tokenizer(), **situation.options}
    data = situation.data() if callable(situation.data) else situation.data
    if is_text:
        args: Any = arguments(folder, **{**defaults, **situation.settings})
    else:
        args = TrainingArguments(**of_sft)
        options = {"data_collator": collate, **options}
    torch.manual_seed(0)
    trainer = Recording(model=situation.adapt(situation.model()), args=args, train_dataset=data, **options)
    callback = None
    if config is not None:
        outside = trainer if situation.outside else None
        callback = PACTCallback(config, safety_tokens=tiny_safety_tokens(), trainer=outside)
        trainer.add_callback(callback)
    for one in situation.callbacks():
        trainer.add_callback(one)
    kept.append(Recorder(callback))
    trainer.add_callback(kept[0])
    situation.change(trainer)
    torch.manual_seed(1)
    trainer.train()
    return Held(kept[0], trainer, callback)


def vars_of(args: Any) -> dict[str, Any]:
    """What the tests' arguments of TRL set that every trainer knows."""
    names = ("output_dir", "use_cpu", "bf16", "report_to", "save_strategy", "max_grad_norm", "logging_steps")
    return {name: getattr(args, name) for name in (*names, "disable_tqdm", "seed")}


class Expected:
    """The gradients of one optimizer step, from models that no trainer has touched."""

    def __init__(self, situation: Situation, held: Held, step: int) -> None:
        self._situation, self._window = situation, held.seen.windows[step]
        self._replies = held.seen.replies[step]
        # Adapters may change the model that they are put on.
        torch.manual_seed(0)
        self._trained, self._aligned = situation.adapt(situation.model()), situation.model()
        _put(self._trained, held.seen.weights[step])
        # As in the run: Gemma 3n reads some layers' weights past an adapter in training, and not in evaluation.
        self._trained.train()
        self._aligned.eval()
        self.labels = sum(int((inputs["labels"][:, 1:] != IGNORED).sum()) for inputs, _ in self._window)
        self.divergence = 0.0

    def cross_entropy(self) -> dict[str, Tensor]:
        """Of the labels alone."""

        def loss(inputs: dict[str, Any], places: Any, divisor: float) -> Tensor:
            logits = self._trained(**_read(inputs, self._trained)).logits[:, :-1][places].float()
            return nn.functional.cross_entropy(logits, inputs["labels"][:, 1:][places], reduction="sum") / divisor

        return self._gradients(loss)

    def term(self) -> dict[str, Tensor]:
        """Of the divergence from the aligned model over the safety tokens."""
        tokens = tiny_safety_tokens().token_ids

        def loss(inputs: dict[str, Any], places: Any, divisor: float) -> Tensor:
            read = _read(inputs, self._trained)
            own = self._trained(**read).logits[:, :-1][places][:, tokens].float() / TEMPERATURE
            with torch.no_grad():
                aligned = self._aligned(**read).logits[:, :-1][places][:, tokens].float() / TEMPERATURE
            found = TEMPERATURE**2 * _divergence(aligned, own).sum()
            self.divergence += float(found) / max(self.labels, 1)
            return COEFFICIENT * found / divisor

        return self._gradients(loss)

    def anchor(self) -> dict[str, Tensor]:
        """Of the divergence on the replies, each in a pass of its own."""
        found = []
        for one in self._replies:
            ids = torch.tensor([[*one.context_ids, *one.response_ids]])
            inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            places = slice(len(one.context_ids) - 1, ids.size(1) - 1)
            with torch.no_grad():
                aligned = self._aligned(**inputs).logits[0, places].float()
            found.append(_divergence(aligned, self._trained(**inputs).logits[0, places].float()))
        whole = sum(float((inputs["labels"][:, 1:] != IGNORED).sum()) / divisor for inputs, divisor in self._divisors())
        return _gradients(ANCHOR * whole * torch.cat(found).mean(), self._trained)

    def _divisors(self) -> list[tuple[dict[str, Any], float]]:
        found = []
        for inputs, told in self._window:
            own = max(float((inputs["labels"][:, 1:] != IGNORED).sum()), 1.0)
            averaged = own * len(self._window)
            found.append((inputs, own if self._situation.own_means else averaged if told is None else float(told)))
        return found

    def _gradients(self, loss: Callable[[dict[str, Any], Any, float], Tensor]) -> dict[str, Tensor]:
        total = torch.zeros(())
        for inputs, divisor in self._divisors():
            total = total + loss(inputs, (inputs["labels"][:, 1:] != IGNORED).nonzero(as_tuple=True), divisor)
        return _gradients(total, self._trained)


@torch.no_grad()
def _put(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    own = dict(model.named_parameters())
    for name, value in weights.items():
        own[name].copy_(value)


def _gradients(loss: Tensor, model: nn.Module) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None and p.requires_grad}


def _read(inputs: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    found = {name: value for name, value in inputs.items() if name not in _UNREAD}
    return {**found, "use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else found


def _divergence(aligned: Tensor, own: Tensor) -> Tensor:
    target = aligned.log_softmax(-1)
    return (target.exp() * (target - own.log_softmax(-1))).sum(-1)


def _flat(gradients: Mapping[str, Tensor], names: list[str], like: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([gradients.get(name, torch.zeros_like(like[name])).flatten().double() for name in names])


@dataclass(frozen=True)
class Outcome:
    """What came of a situation.

    Attributes:
        result: "exact", "wrong", "refused" or "cannot" (the trainer fails by itself).
        detail: a message, or what is wrong.
        difference: of gradients, as a share of the largest.
    """

    result: str
    detail: str = ""
    difference: float = math.nan


def tried(situation: Situation, folder: Path) -> Outcome:
    """Train without and with PACT, and compare."""
    try:
        plain = run(situation, folder, None)
    except Exception as error:  # whatever a framework raises
        return Outcome("cannot", f"{type(error).__name__}: {error}"[:300])
    try:
        held = run(situation, folder, merged(BOTH, situation.pact))
    except PACTError as error:
        return Outcome("refused", str(error))
    wrong, largest = [], 0.0
    for step in range(len(held.seen.gradients)):
        found, difference = _compared(situation, plain, held, step)
        wrong += found
        largest = max(largest, difference)
    wrong += _of_the_record(situation, plain, held)
    return Outcome("wrong" if wrong else "exact", "; ".join(dict.fromkeys(wrong)), largest)


def _compared(situation: Situation, plain: Held, held: Held, step: int) -> tuple[list[str], float]:
    expected, found = Expected(situation, held, step), held.seen.gradients[step]
    names = sorted(found)
    own = expected.cross_entropy() if situation.has_optimizer else plain.seen.gradients[step]
    term, anchor = (_flat(of, names, found) for of in (expected.term(), expected.anchor()))
    whole, own_flat = _flat(found, names, found), _flat(own, names, found)
    wanted = term + anchor if expected.labels else 0 * term
    if situation.is_clipped:
        whole, wanted = whole / whole.norm(), (own_flat + wanted) / (own_flat + wanted).norm()
        own_flat = 0 * own_flat
    added, scale = whole - own_flat, float(wanted.abs().max())
    difference = float((added - wanted).abs().max()) / max(scale, 1e-9)
    wrong = []
    if scale < 1e-5 and expected.labels:
        wrong.append("nothing to compare")
    if not difference <= situation.tolerance:
        parts = torch.stack([term, anchor], 1)
        weights = torch.linalg.lstsq(parts, added[:, None]).solution[:, 0].tolist()
        rest = float((parts @ torch.tensor(weights).double() - added).norm() / added.norm().clamp(min=1e-12))
        wrong.append(f"weights of term and anchor {weights[0]:.3g} and {weights[1]:.3g}, rest {rest:.2g}")
    logged = [entry["pact/kl"] for entry in held.trainer.state.log_history if "pact/kl" in entry]
    if len(logged) == len(held.seen.gradients) and expected.labels:
        if abs(logged[step] - expected.divergence) > 3 * situation.tolerance * max(expected.divergence, 1e-6) + 1e-6:
            wrong.append(f"pact/kl {logged[step]:.4g} instead of {expected.divergence:.4g}")
    return wrong, difference


def _of_the_record(situation: Situation, plain: Held, held: Held) -> list[str]:
    wrong, steps = [], held.trainer.state.global_step
    own = read_run_record(Path(held.trainer.args.output_dir))["segments"][-1]
    labels = sum(int((i["labels"][:, 1:] != IGNORED).sum()) for window in held.seen.windows for i, _ in window)
    if plain.trainer.state.global_step != steps:
        wrong.append(f"{steps} steps instead of {plain.trainer.state.global_step}")
    if own["optimizer_steps"] != steps:
        wrong.append(f"{own['optimizer_steps']} of {steps} steps protected")
    if own["response_tokens"] != labels:
        wrong.append(f"{own['response_tokens']} response tokens instead of {labels}")
    if bool(own["unchecked_moves"]) != situation.unchecked:
        wrong.append(f"{own['unchecked_moves']} unchecked moves")
    return wrong
