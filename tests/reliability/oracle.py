"""A training run watched, and what PACT should have added to each of its gradients, by plain autograd."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from pact_plugins import PACTCallback
from pact_plugins.errors import PACTError
from pact_plugins.run_record import read_run_record
from pact_plugins.settings import merged
from tests.helpers.guarded import REFUSAL_OPENING_TOKENS, tokens_with_openings
from tests.helpers.plain_trainer import COEFFICIENT, IGNORED, TEMPERATURE, TERM, collate, rows_of
from tests.helpers.tiny import tiny_llama, tiny_tokenizer
from tests.helpers.trainers import Watch, arguments

ANCHOR = 0.7
ALL = merged(
    TERM,
    {"anchor": {"replies": 4, "share": 1, "weight": ANCHOR, "max_new_tokens": 5}, "row_gate": {"mode": "soft"}},
)
_UNREAD = ("labels", "num_items_in_batch", "completion_mask", "assistant_masks", "seq_lengths", "return_loss")
Gradients = Mapping[str, Tensor]


def rows(*lengths: int) -> list[dict[str, list[int]]]:
    """One row for each length of a response: a turn of the user's as the chat template writes it, and ids at random."""
    user, end, assistant = tiny_tokenizer().convert_tokens_to_ids(["<|user|>", "<|end|>", "<|assistant|>"])
    found = rows_of(lengths, prompt=6)
    for row in found:
        row["input_ids"][0], row["input_ids"][4:6] = user, [end, assistant]
    return found


@dataclass(frozen=True)
class Situation:
    """One way to train a model.

    Attributes:
        model: makes the aligned model, the same one each time.
        adapt: from it to what is trained.
        data: rows of token ids, or those of TRL; or what makes them.
        trainer: its class; one of TRL's takes rows of text.
        settings: of its arguments.
        options: of its own, such as a collator.
        callbacks: made anew for each run.
        pact: settings beside term, anchor and a soft row gate.
        change: what is done to the trainer before it trains.
        outside: PACT joins the trainer's loss and not the model's outputs.
        moves: weights move in between, so that the cross-entropy's gradient is autograd's too.
        clipped: gradients are compared up to one factor.
        passes: of the model over each micro-batch.
        resumed: stopped after the first step, and resumed by another trainer.
        tolerance: of a gradient, as a share of the largest.
        wanted: "exact", or a piece of the message by which PACT refuses.
    """

    model: Callable[[], Any] = tiny_llama
    adapt: Callable[[Any], Any] = lambda model: model
    data: Any = tuple(rows(3, 17, 6, 9, 1, 12, 5, 8))
    trainer: type[Trainer] = Trainer
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    callbacks: Callable[[], list[Any]] = list
    pact: Mapping[str, Any] = field(default_factory=dict)
    change: Callable[[Any], None] = lambda trainer: None
    outside: bool = False
    moves: bool = False
    clipped: bool = False
    passes: int = 1
    resumed: bool = False
    tolerance: float = 1e-5
    wanted: str = "exact"


@dataclass(frozen=True)
class Outcome:
    """What came of a situation.

    Attributes:
        result: "exact", "wrong", "stopped" by a line of PACT's, or "fails without PACT".
        detail: the line, or what is wrong.
        difference: of gradients, as a share of the largest.
    """

    result: str
    detail: str = ""
    difference: float | None = None


class Recorder(Watch):
    """Keeps the micro-batches of each step, with the trainer's own number, and the replies that it was anchored to."""

    def __init__(self) -> None:
        super().__init__(move=True)
        self.callback: PACTCallback | None = None
        self.windows: list[list[tuple[dict[str, Any], Any]]] = [[]]
        self.replies: list[list[Any]] = []
        self._drawn: list[Any] = []
        self._heard: list[Any] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        super().on_step_begin(*args, **kwargs)
        for part in self.callback._preparation.parts if self.callback is not None else ():
            if part.name == "anchor" and part not in self._heard:
                self._heard.append(part)
                self._listen(part, part._drawn)

    def _listen(self, part: Any, original: Any) -> None:
        def drawn(*args: Any) -> Any:
            found = original(*args)
            self._drawn = [part.anchors.sequences[index] for index in found]
            return found

        part._drawn = drawn

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().on_pre_optimizer_step(*args, **kwargs)
        self.windows.append([])
        self.replies.append(self._drawn)


class _StopAfterTheFirst(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_save = control.should_training_stop = True


def trained(situation: Situation, folder: Path, config: Mapping[str, Any] | None) -> tuple[Recorder, Any]:
    """Train once, with PACT or without."""
    seen = Recorder()
    if situation.resumed:
        trainer = _trainer(situation, folder, config, seen)
        trainer.add_callback(_StopAfterTheFirst())
        trainer.train()
    trainer = _trainer(situation, folder, config, seen)
    situation.change(trainer)
    torch.manual_seed(1)
    trainer.train(resume_from_checkpoint=situation.resumed or None)
    return seen, trainer


def _trainer(situation: Situation, folder: Path, config: Mapping[str, Any] | None, seen: Recorder) -> Any:
    class Recording(situation.trainer):  # type: ignore[misc, name-defined]
        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
            copied = {name: v.clone() if isinstance(v, Tensor) else v for name, v in inputs.items()}
            seen.windows[-1].append((copied, num_items_in_batch))
            return super().training_step(model, inputs, num_items_in_batch, **kwargs)

    is_text = hasattr(situation.trainer, "_prepare_dataset")
    sft = arguments(
        folder,
        **{
            "max_steps": 2,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "learning_rate": 0.01 if situation.moves else 0.0,
            "weight_decay": 0.0,
            "remove_unused_columns": is_text,
            **(situation.settings if is_text else {}),
        },
    )
    names = inspect.signature(TrainingArguments).parameters
    kept = {name: value for name, value in vars(sft).items() if name in names and name != "accelerator_config"}
    data = situation.data() if callable(situation.data) else situation.data
    torch.manual_seed(0)
    trainer = Recording(
        model=situation.adapt(situation.model()),
        args=sft if is_text else TrainingArguments(**{**kept, **situation.settings}),
        train_dataset=data,
        **{
            "processing_class": tiny_tokenizer(),
            **({} if is_text else {"data_collator": collate}),
            **({"eval_dataset": data[:2]} if situation.settings.get("eval_strategy") else {}),
            **situation.options,
        },
    )
    if config is not None:
        outside = trainer if situation.outside else None
        seen.callback = PACTCallback(config, safety_tokens=tokens_with_openings(), trainer=outside)
        trainer.add_callback(seen.callback)
    for one in (*situation.callbacks(), seen):
        trainer.add_callback(one)
    return trainer


class Expected:
    """The gradients of one optimizer step, from models that no trainer has touched."""

    def __init__(self, situation: Situation, seen: Recorder, step: int, gate: str) -> None:
        self._window, self._replies, self._gate = seen.windows[step], seen.replies[step], gate
        # Adapters may change the model that they are put on.
        torch.manual_seed(0)
        self._trained, self._aligned = situation.adapt(situation.model()), situation.model().eval()
        for model in (self._trained, self._aligned):
            model.config.use_cache = bool(situation.settings.get("use_cache"))
        own = dict(self._trained.named_parameters())
        with torch.no_grad():
            for name, value in seen.weights[step].items():
                # A callback may have let more of them train since the run began.
                own[name].requires_grad_(True).copy_(value)
        # As in the run: Gemma 3n reads some layers' weights past an adapter in training, and not in evaluation.
        self._trained.train()
        self.labels = sum(_labels(inputs) for inputs, _ in self._window)
        self.held = sum(int(_in_turns(inputs).sum()) for inputs, _ in self._window)
        self.divergence = 0.0
        self._is_bf16 = bool(situation.settings.get("bf16"))

    def gradients(self) -> dict[str, Gradients]:
        """Of the cross-entropy and of each part of PACT, whose sum reaches the weights where all is well."""
        with torch.autocast("cpu", enabled=self._is_bf16):
            return {name: self._backward(loss) for name, loss in (self._losses() | {"anchor": self._anchor()}).items()}

    def _losses(self) -> dict[str, Tensor]:
        tokens = tokens_with_openings().token_ids
        losses = {name: torch.zeros(()) for name in ("cross-entropy", "term", "row_gate")}
        for inputs, divisor in self._divisors():
            places = (inputs["labels"][:, 1:] != IGNORED).nonzero(as_tuple=True)
            held, read = _in_turns(inputs)[places], _read(inputs)
            own = self._trained(**read).logits[:, :-1][places].float()
            with torch.no_grad():
                aligned = self._aligned(**read).logits[:, :-1][places].float()
            divergence = _divergence(aligned[:, tokens] / TEMPERATURE, own[:, tokens] / TEMPERATURE)[held].sum()
            self.divergence += float(TEMPERATURE**2 * divergence.detach()) / max(self.held, 1)
            cross_entropy = nn.functional.cross_entropy(own, inputs["labels"][:, 1:][places], reduction="none")
            losses["cross-entropy"] = losses["cross-entropy"] + cross_entropy.sum() / divisor
            losses["term"] = losses["term"] + COEFFICIENT * TEMPERATURE**2 * divergence / divisor
            if self._gate and self.labels:
                less = _gate(aligned, places, held, self._gate) - 1
                losses["row_gate"] = losses["row_gate"] + (less * cross_entropy).sum() / divisor
        return losses

    def _anchor(self) -> Tensor:
        found = []
        for one in self._replies:
            ids = torch.tensor([[*one.context_ids, *one.response_ids]])
            inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            places = slice(len(one.context_ids) - 1, ids.size(1) - 1)
            with torch.no_grad():
                aligned = self._aligned(**inputs).logits[0, places].float()
            found.append(_divergence(aligned, self._trained(**inputs).logits[0, places].float()))
        share = sum(_labels(inputs) / divisor for inputs, divisor in self._divisors())
        return ANCHOR * share * torch.cat(found).mean() if found else torch.zeros(())

    def _divisors(self) -> list[tuple[dict[str, Any], float]]:
        means = [max(_labels(inputs), 1) * len(self._window) for inputs, _ in self._window]
        return [
            (inputs, float(mean if told is None else told))
            for (inputs, told), mean in zip(self._window, means, strict=True)
        ]

    def _backward(self, loss: Tensor) -> Gradients:
        self._trained.zero_grad()
        if loss.requires_grad:
            loss.backward(retain_graph=True)
        return {name: p.grad.clone() for name, p in self._trained.named_parameters() if p.grad is not None}


def _in_turns(inputs: Mapping[str, Any]) -> Tensor:
    """(B, L - 1) whether the label is of an assistant's turn, or of a row without any; prompts are not held."""
    assistant, *others = tiny_tokenizer().convert_tokens_to_ids(["<|assistant|>", "<|user|>", "<|system|>", "<|end|>"])
    ids, found = inputs["input_ids"], inputs["labels"] != IGNORED
    for row, of_row in zip(found, ids.tolist(), strict=True):
        role = None
        for column, token in enumerate(of_row):
            row[column] &= assistant not in of_row or role == assistant
            role = token if token in (assistant, *others) else role
    return found[:, 1:]


def _labels(inputs: Mapping[str, Any]) -> int:
    return int((inputs["labels"][:, 1:] != IGNORED).sum())


def _read(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name not in _UNREAD}


def _divergence(aligned: Tensor, own: Tensor) -> Tensor:
    target = aligned.log_softmax(-1)
    return (target.exp() * (target - own.log_softmax(-1))).sum(-1)


def _gate(aligned: Tensor, places: tuple[Tensor, ...], held: Tensor, mode: str) -> Tensor:
    """(M,) the weight of each label: by what the aligned model would have begun its response with.

    A prompt that is learnt weighs what the response weighs that follows it.
    """
    rows, columns = places
    begins = held.clone()
    begins[1:] &= (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1] + 1) | ~held[:-1]
    mass = aligned.softmax(-1)[:, REFUSAL_OPENING_TOKENS].sum(-1)[begins]
    if not len(mass):
        return torch.ones(len(rows))
    mass = mass[(begins.cumsum(0) - held.long()).clamp(max=len(mass) - 1)]
    return {"soft": 1 - mass, "hard": (mass <= 0.5).float(), "report": torch.ones_like(mass)}[mode]


def tried(situation: Situation, folder: Path) -> Outcome:
    """Train without and with PACT, and compare."""
    try:
        plain, trainer = trained(situation, folder / "plain", None)
    except Exception as error:  # whatever a framework raises
        return Outcome("fails without PACT", f"{type(error).__name__}: {error}"[:300])
    plain_steps = trainer.state.global_step
    config = merged(ALL, situation.pact)
    try:
        seen, trainer = trained(situation, folder / "held", config)
    except PACTError as error:
        return Outcome("stopped", str(error))
    wrong, largest = [], 0.0
    for step in range(len(seen.gradients)):
        found, difference = _compared(situation, (plain, seen), step, config)
        wrong += [found] if found else []
        largest = max(largest, difference)
    wrong += _of_the_record(situation, seen, trainer, plain_steps)
    return Outcome("wrong" if wrong else "exact", "; ".join(dict.fromkeys(wrong)), largest)


def _compared(
    situation: Situation, runs: tuple[Recorder, Recorder], step: int, config: Mapping[str, Any]
) -> tuple[str, float]:
    plain, seen = runs
    gate = config["row_gate"]["mode"] if config["row_gate"] else ""
    expected, found = Expected(situation, seen, step, gate), seen.gradients[step]

    def flat(of: Gradients) -> Tensor:
        return torch.cat([of.get(name, torch.zeros_like(found[name])).flatten().double() for name in sorted(found)])

    each = {name: flat(gradients) for name, gradients in expected.gradients().items()}
    own = each.pop("cross-entropy")
    if not (situation.moves or situation.clipped):
        own = flat(plain.gradients[step])
    parts, whole = torch.stack(list(each.values()), 1), flat(found)
    wanted = parts.sum(1) if expected.labels else 0 * own
    if situation.clipped:
        whole, wanted, own = whole / whole.norm(), (own + wanted) / (own + wanted).norm(), 0 * own
    added, scale = whole - own, float(wanted.abs().max())
    difference = float((added - wanted).abs().max()) / max(scale, 1e-9)
    if scale < 1e-5 and expected.labels:
        return "nothing to compare", difference
    if not difference <= situation.tolerance:
        weights = torch.linalg.lstsq(parts, added[:, None], driver="gelsd").solution[:, 0]
        rest = float((parts @ weights - added).norm() / added.norm().clamp(min=1e-12))
        shares = ", ".join(f"{name} {weight:.3g}" for name, weight in zip(each, weights.tolist(), strict=True))
        return f"step {step + 1}: weights {shares}, rest {rest:.2g}", difference
    logged = [entry["pact/kl"] for entry in seen.losses if "pact/kl" in entry]
    told = logged[step] if len(logged) == len(seen.gradients) and expected.labels else expected.divergence
    if not math.isclose(told, expected.divergence, rel_tol=10 * situation.tolerance, abs_tol=1e-4):
        return f"step {step + 1}: pact/kl {told:.4g} instead of {expected.divergence:.4g}", difference
    return "", difference


def _of_the_record(situation: Situation, seen: Recorder, trainer: Any, plain_steps: int) -> list[str]:
    wrong, steps = [], trainer.state.global_step
    segments = read_run_record(Path(trainer.args.output_dir))["segments"]
    protected, tokens = (sum(one[key] for one in segments) for key in ("optimizer_steps", "response_tokens"))
    labels = situation.passes * sum(int(_in_turns(inputs).sum()) for window in seen.windows for inputs, _ in window)
    if plain_steps != steps:
        wrong.append(f"{steps} steps instead of {plain_steps}")
    if protected != steps:
        wrong.append(f"{protected} of {steps} steps protected")
    if tokens != labels:
        wrong.append(f"{tokens} response tokens instead of {labels}")
    if any(one["unchecked_moves"] for one in segments):
        wrong.append("weights moved that no receipt speaks of")
    return wrong
