"""Real runs of ``transformers.Trainer`` whose loss is made outside the model, and what their gradients must be.

Run by torchrun as a script, it leaves the gradients of every variant in a folder.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LabelSmoother

from pact_plugins import PACTCallback, PACTConfig
from pact_plugins.safety_tokens import SafetyTokens

KL_COEF, TEMPERATURE, SMOOTHING = 3.0, 2.0, 0.2
VOCABULARY = 60
VARIANTS = ("model", "function", "smoothing")
ROWS_A_STEP = 8


def tokenizer() -> PreTrainedTokenizerFast:
    """Whole words only; the probe's text is unknown words to it."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<unk>": 0, "<pad>": 1, **{f"w{index}": index for index in range(2, VOCABULARY)}}
    fast = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=fast, pad_token="<pad>", unk_token="<unk>")


def model(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.3,
        pad_token_id=1,
    )
    return LlamaForCausalLM(config)


def rows() -> list[dict[str, list[int]]]:
    """Eight rows of very different numbers of response tokens: a wrong denominator shows."""
    generator = torch.Generator().manual_seed(5)
    result = []
    for index in range(ROWS_A_STEP):
        response = 2 + 3 * index
        ids = torch.randint(2, VOCABULARY, (4 + response,), generator=generator).tolist()
        result.append({"input_ids": ids, "labels": [-100] * 4 + ids[4:]})
    return result


def collate(batch: list[dict[str, list[int]]]) -> dict[str, Tensor]:
    width = max(len(row["input_ids"]) for row in batch)
    padded = {
        "input_ids": [row["input_ids"] + [1] * (width - len(row["input_ids"])) for row in batch],
        "labels": [row["labels"] + [-100] * (width - len(row["labels"])) for row in batch],
        "attention_mask": [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in batch],
    }
    return {name: torch.tensor(value) for name, value in padded.items()}


def weighted_loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    """A loss of the user's own: each token's cross-entropy times its own probability (as DFT has it)."""
    loss = functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="none")
    weighted = loss * torch.exp(-loss).detach()
    return weighted.sum() / ((labels[:, 1:] != -100).sum() if num_items_in_batch is None else num_items_in_batch)


class _KeepGradients(TrainerCallback):
    def __init__(self) -> None:
        self.gradients: dict[str, Tensor] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        parameters = kwargs["model"].named_parameters()
        self.gradients = {name.removeprefix("module."): p.grad.clone() for name, p in parameters if p.grad is not None}


def gradients(variant: str, folder: Path, *, batch_size: int, accumulation: int, forget_items: bool = False) -> dict:
    """The gradients of the first optimizer step of a real run over the eight rows."""
    reference = folder / "reference"
    keeper, trained, words = _KeepGradients(), model(0), tokenizer()
    arguments = TrainingArguments(
        output_dir=str(folder / "out"),
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        max_steps=1,
        max_grad_norm=0.0,
        label_smoothing_factor=SMOOTHING if variant == "smoothing" else 0.0,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        remove_unused_columns=False,
    )

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

        def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
            batches, items = super().get_batch_samples(*args, **kwargs)
            return batches, None if forget_items else items

    trainer = InOrder(
        model=trained,
        args=arguments,
        train_dataset=rows(),
        data_collator=collate,
        processing_class=words,
        compute_loss_func=weighted_loss if variant == "function" else None,
        callbacks=[keeper],
    )
    config = PACTConfig(
        preset="match", term={"weight": KL_COEF, "temperature": TEMPERATURE}, reference={"path": str(reference)}
    )
    tokens = SafetyTokens.random(words, VOCABULARY, count=12, seed=3)
    trainer.add_callback(PACTCallback(config, safety_tokens=tokens, trainer=trainer))
    trainer.train()
    return keeper.gradients


def expected_gradients(variant: str, folder: Path, micro_batches: list[list[int]]) -> dict:
    """The same by autograd alone: whole-vocabulary logits, sums and denominators written out.

    Args:
        micro_batches: the row numbers of each micro-batch, over all ranks.
    """
    trained, reference = model(0), LlamaForCausalLM.from_pretrained(folder / "reference")
    token_ids = SafetyTokens.random(tokenizer(), VOCABULARY, count=12, seed=3).token_ids
    data = rows()
    total = sum(label != -100 for row in data for label in row["labels"])
    objective = torch.zeros(())
    for numbers in micro_batches:
        batch = collate([data[number] for number in numbers])
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        kept = batch["labels"][:, 1:] != -100
        targets = batch["labels"][:, 1:][kept]
        logits = trained(**inputs).logits[:, :-1][kept]
        with torch.no_grad():
            reference_logits = reference(**inputs).logits[:, :-1][kept]
        objective = objective + _own_loss(variant, logits, targets, total)
        log_q = torch.log_softmax(reference_logits[:, token_ids] / TEMPERATURE, dim=-1)
        log_p = torch.log_softmax(logits[:, token_ids] / TEMPERATURE, dim=-1)
        divergence = TEMPERATURE**2 * (log_q.exp() * (log_q - log_p)).sum()
        objective = objective + KL_COEF * divergence / total
    objective.backward()
    return {name: parameter.grad for name, parameter in trained.named_parameters() if parameter.grad is not None}


def _own_loss(variant: str, logits: Tensor, targets: Tensor, total: int) -> Tensor:
    losses = functional.cross_entropy(logits, targets, reduction="none")
    if variant == "model":
        return losses.sum() / total
    if variant == "function":
        return (losses * torch.exp(-losses).detach()).sum() / total
    smoothed = functional.cross_entropy(logits, targets, label_smoothing=SMOOTHING)
    if "num_items_in_batch" in inspect.signature(LabelSmoother.__call__).parameters:
        return smoothed * len(targets) / total
    # Older releases add up the means of the micro-batches and never divide by the steps.
    return smoothed


def close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest difference, relative to the largest gradient of the same parameter."""
    assert found.keys() == expected.keys()
    return max(float((found[name] - expected[name]).abs().max() / expected[name].abs().max()) for name in expected)


if __name__ == "__main__":
    destination = Path(sys.argv[1])
    for name in VARIANTS:
        found = gradients(name, destination, batch_size=2, accumulation=2)
        if torch.distributed.get_rank() == 0:
            save_file(found, destination / f"{name}.safetensors")
