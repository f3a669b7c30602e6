"""Public ways to train one and the same small Llama: adapters, optimizers, batches, settings, losses, rows of TRL."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import peft
import torch
from datasets import Dataset, interleave_datasets
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.utils.data import IterableDataset
from transformers import DataCollatorWithFlattening, Trainer, TrainerCallback
from trl import SFTTrainer

from tests.helpers.plain_trainer import IGNORED, collate, rows_of
from tests.helpers.tiny import llama_config, tiny_llama, tiny_tokenizer
from tests.helpers.trainers import rows as rows_of_text
from tests.reliability.oracle import LENGTHS, Situation

ROWS = rows_of(LENGTHS)
TARGETS = ["q_proj", "v_proj", "up_proj", "down_proj"]
WITHOUT_ANCHOR = {"anchor": None}


def adapted(**settings: Any) -> Callable[[Any], Any]:
    """LoRA of rank 4."""
    config = {"r": 4, "lora_alpha": 8, "target_modules": TARGETS, "task_type": "CAUSAL_LM", **settings}
    return lambda model: get_peft_model(model, LoraConfig(**config))


def method(name: str, **settings: Any) -> Callable[[Any], Any]:
    """Another of PEFT's."""
    return lambda model: get_peft_model(model, getattr(peft, name)(task_type="CAUSAL_LM", **settings))


def two_adapters(model: Any) -> Any:
    """One that trains, and an idle one beside it."""
    found = adapted()(model)
    found.add_adapter("other", LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    return found


def both_adapters(model: Any) -> Any:
    """Two that are on at once."""
    found = two_adapters(model)
    found.base_model.set_adapter(["default", "other"])
    return found


def only(*words: str) -> Callable[[Any], Any]:
    """Full training of the parameters whose names hold one of these."""

    def adapt(model: Any) -> Any:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(any(word in name for word in words))
        return model

    return adapt


def resized(model: Any = None) -> Any:
    """An embedding larger than the model was made with."""
    found = tiny_llama()
    torch.manual_seed(3)
    found.resize_token_embeddings(400, mean_resizing=False)
    return found


LORAS: dict[str, dict[str, Any]] = {
    "DoRA": {"use_dora": True},
    "rank-stabilised": {"use_rslora": True},
    "biases of all layers": {"bias": "all"},
    "its layers' biases": {"bias": "lora_only"},
    "a bias of its own": {"lora_bias": True},
    "saved head": {"modules_to_save": ["lm_head"]},
    "saved embedding": {"modules_to_save": ["embed_tokens"]},
    "on embedding and head": {"target_modules": [*TARGETS, "embed_tokens", "lm_head"]},
    "DoRA on the head": {"target_modules": ["lm_head"], "use_dora": True},
    "trainable tokens": {"trainable_token_indices": [5, 6, 7, 30, 31]},
    "one layer": {"layers_to_transform": [1]},
    "ranks by pattern": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"up_proj": 16}},
    "PiSSA": {"init_lora_weights": "pissa"},
    "OLoRA": {"init_lora_weights": "olora"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "random B": {"init_lora_weights": False},
    "aLoRA": {"alora_invocation_tokens": [9, 10]},
    "parameters": {"target_modules": [], "target_parameters": ["mlp.up_proj.weight"]},
    "layers repeated": {"layer_replication": [[0, 2], [1, 2]]},
}
METHODS: dict[str, dict[str, Any]] = {
    "IA3Config": {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]},
    "LoHaConfig": {"target_modules": TARGETS},
    "LoKrConfig": {"target_modules": TARGETS},
    "OFTConfig": {"target_modules": ["q_proj"], "oft_block_size": 4, "r": 0},
    "BOFTConfig": {"target_modules": ["q_proj"], "boft_block_size": 4},
    "VeraConfig": {"target_modules": ["q_proj"], "r": 8},
    "FourierFTConfig": {"target_modules": TARGETS, "n_frequency": 20},
    "HRAConfig": {"target_modules": ["q_proj"], "r": 2},
    "VBLoRAConfig": {"target_modules": ["q_proj"], "num_vectors": 8, "vector_length": 8, "topk": 2, "r": 2},
    "RandLoraConfig": {"target_modules": ["q_proj"], "r": 4},
    "MissConfig": {"target_modules": ["q_proj"], "r": 4},
    "ShiraConfig": {"target_modules": ["q_proj"], "r": 2},
    "WaveFTConfig": {"target_modules": ["q_proj"], "n_frequency": 20},
    "RoadConfig": {"target_modules": ["q_proj"], "variant": "road_1", "group_size": 8},
    "C3AConfig": {"target_modules": ["q_proj"], "block_size": 8},
    "DeloraConfig": {"target_modules": ["q_proj"], "r": 4},
    "GraloraConfig": {"target_modules": ["q_proj"], "r": 4},
    "LNTuningConfig": {"target_modules": ["input_layernorm", "post_attention_layernorm"]},
    "TrainableTokensConfig": {"token_indices": [5, 6, 7, 30, 31], "target_modules": ["embed_tokens"]},
    "AdaLoraConfig": {"target_modules": TARGETS, "total_step": 10, "init_r": 4, "target_r": 2},
    "OSFConfig": {"target_modules": ["q_proj"]},
    "PromptTuningConfig": {"num_virtual_tokens": 4},
    "PrefixTuningConfig": {"num_virtual_tokens": 4},
    "PromptEncoderConfig": {"num_virtual_tokens": 4},
    "CPTConfig": {"cpt_token_ids": [5, 6, 7], "cpt_mask": [1, 1, 1], "cpt_tokens_type_mask": [1, 2, 3]},
    "AdaptionPromptConfig": {"adapter_len": 4, "adapter_layers": 1},
}
FULL: dict[str, Situation] = {
    "frozen first layer": Situation(adapt=only("layers.1", "lm_head", "norm")),
    "norms alone": Situation(adapt=only("norm")),
    "head alone": Situation(adapt=only("lm_head")),
    "embedding alone": Situation(adapt=only("embed_tokens")),
    "biases alone": Situation(lambda: tiny_llama(attention_bias=True, mlp_bias=True), only("bias")),
    "tied embeddings": Situation(lambda: tiny_llama(tie_word_embeddings=True)),
    "LoRA on a tied head": Situation(lambda: tiny_llama(tie_word_embeddings=True), adapted(target_modules=["lm_head"])),
    "saved tied embedding": Situation(
        lambda: tiny_llama(tie_word_embeddings=True),
        adapted(modules_to_save=["embed_tokens"], ensure_weight_tying=True),
    ),
    "resized embedding": Situation(resized),
    "two adapters": Situation(adapt=two_adapters),
    "two adapters at once": Situation(adapt=both_adapters),
    "LoRA's dropout": Situation(adapt=adapted(lora_dropout=0.3), pact=WITHOUT_ANCHOR, tolerance=9.0),
}


class Schedule(TrainerCallback):
    """Takes AdaLoRA's ranks away."""

    def on_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        model.base_model.update_and_allocate(state.global_step)


class Average(TrainerCallback):
    """A moving average of the weights, which evaluation sees, or the end of training."""

    def __init__(self, at_the_end: bool = False) -> None:
        self.average: list[Tensor] = []
        self.at_the_end = at_the_end

    @torch.no_grad()
    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.average = self.average or [parameter.clone() for parameter in model.parameters()]
        for own, parameter in zip(self.average, model.parameters(), strict=True):
            own.lerp_(parameter, 0.1)
        kept = [parameter.clone() for parameter in model.parameters()]
        self._put(model, self.average)
        self._put(model, kept)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if self.at_the_end:
            self._put(model, self.average)

    @torch.no_grad()
    def _put(self, model: Any, values: list[Tensor]) -> None:
        for own, parameter in zip(values, model.parameters(), strict=True):
            parameter.copy_(own)


class Rescale(TrainerCallback):
    """Clips once more, after everybody else."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 0.01)


class Layerwise(TrainerCallback):
    """An optimizer for each parameter, which steps while gradients are still being computed."""

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        def step(parameter: Tensor) -> None:
            with torch.no_grad():
                parameter -= 1e-3 * parameter.grad

        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(step)


def optimizer(make: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Give the trainer one of one's own."""

    def change(trainer: Any) -> None:
        trainer.optimizer = make([p for p in trainer.model.parameters() if p.requires_grad])

    return change


def schedule_free(parameters: Any) -> Any:
    """Of the package of that name."""
    return importlib.import_module("schedulefree").AdamWScheduleFree(parameters, lr=0.01)


MOVING: dict[str, Any] = {"has_optimizer": True, "settings": {"max_steps": 3, "learning_rate": 0.01}}
EVALUATED = {"eval_strategy": "steps", "eval_steps": 1, "max_steps": 3, "learning_rate": 0.01}


def moving(name: str = "adamw_torch", **more: Any) -> Situation:
    """Weights that move by one of the trainer's optimizers."""
    settings = {"max_steps": 3, "learning_rate": 0.01, "optim": name, **more.pop("settings", {})}
    return Situation(has_optimizer=True, settings=settings, **more)


OPTIMIZERS: dict[str, Situation] = {
    "AdamW, fused": moving("adamw_torch_fused"),
    "Adafactor": moving("adafactor"),
    "SGD with momentum": moving("sgd", settings={"optim_args": "momentum=0.9"}),
    "RMSprop": moving("rmsprop"),
    "Adagrad": moving("adagrad"),
    "weight decay": moving(settings={"weight_decay": 0.3}),
    "GaLore": moving("galore_adamw", settings={"optim_target_modules": ["mlp"], "optim_args": "rank=4"}),
    "GaLore, layer by layer": moving(
        "galore_adamw_layerwise",
        settings={"optim_target_modules": ["mlp"], "optim_args": "rank=4", "gradient_accumulation_steps": 1},
        unchecked=True,
    ),
    "LOMO": moving("lomo", settings={"gradient_accumulation_steps": 1}, unchecked=True),
    "GrokAdamW": moving("grokadamw"),
    "APOLLO": moving("apollo_adamw", settings={"optim_target_modules": ["mlp"], "optim_args": "rank=4"}),
    "StableAdamW": moving("stable_adamw"),
    "AdamW in 8 bits": moving("adamw_torch_8bit"),
    "Muon": moving(adapt=only("q_proj", "down_proj"), change=optimizer(lambda found: torch.optim.Muon(found, lr=0.01))),
    "L-BFGS, one inner step": moving(change=optimizer(lambda found: torch.optim.LBFGS(found, lr=0.01, max_iter=1))),
    "schedule-free": moving("schedule_free_adamw", settings={"lr_scheduler_type": "constant"}),
    "schedule-free, evaluated": moving(
        "schedule_free_adamw",
        settings={"lr_scheduler_type": "constant", **EVALUATED},
        options={"eval_dataset": ROWS[:2]},
    ),
    "AdaLoRA's allocation": moving(
        adapt=method(
            "AdaLoraConfig",
            target_modules=TARGETS,
            total_step=10,
            init_r=4,
            target_r=2,
            tinit=1,
            tfinal=2,
            deltaT=1,
            orth_reg_weight=0.0,
        ),
        callbacks=lambda: [Schedule()],
    ),
    "moving average": moving(callbacks=lambda: [Average()]),
    "moving average at the end": moving(callbacks=lambda: [Average(at_the_end=True)], unchecked=True),
    "clipped by a callback": moving(callbacks=lambda: [Rescale()]),
    "steps in backward": moving(
        callbacks=lambda: [Layerwise()], settings={"gradient_accumulation_steps": 1}, unchecked=True
    ),
    "clipped": moving(settings={"max_grad_norm": 0.05}, is_clipped=True),
    "several evaluations": moving(settings=EVALUATED, options={"eval_dataset": ROWS[:2]}),
}


def padded(rows: Any, *, left: bool = False, width: int = 0, positions: bool = False, mask: bool = True) -> Any:
    """Rows of token ids as tensors."""
    width = max(width, *(len(row["input_ids"]) for row in rows))

    def filled(values: list[int], filling: int) -> list[int]:
        more = [filling] * (width - len(values))
        return more + values if left else values + more

    found = {
        "input_ids": torch.tensor([filled(row["input_ids"], 0) for row in rows]),
        "labels": torch.tensor([filled(row["labels"], IGNORED) for row in rows]),
        "attention_mask": torch.tensor([filled([1] * len(row["input_ids"]), 0) for row in rows]),
    }
    if positions:
        found["position_ids"] = (found["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    return found if mask else {name: value for name, value in found.items() if name != "attention_mask"}


def changed(**changes: Callable[[dict[str, Tensor]], Any]) -> dict[str, Any]:
    """A collator whose batches are changed, as options of the trainer."""

    def collated(rows: Any) -> Any:
        batch = collate(rows)
        return {**batch, **{name: change(batch) for name, change in changes.items()}}

    return {"data_collator": collated}


def block_mask(batch: dict[str, Tensor]) -> Tensor:
    """A causal mask of four dimensions."""
    length = batch["input_ids"].size(1)
    seen = (
        torch.ones(length, length, dtype=torch.bool).tril()[None, None] & batch["attention_mask"].bool()[:, None, None]
    )
    return torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)


def flattened(**settings: Any) -> dict[str, Any]:
    """Rows one after the other, without padding."""
    return {"data_collator": DataCollatorWithFlattening(**settings)}


def every_other(batch: dict[str, Tensor]) -> Tensor:
    """Labels with gaps."""
    gaps = torch.arange(batch["labels"].size(1)) % 2 == 0
    return batch["labels"].masked_fill(gaps, IGNORED)


def whole(batch: dict[str, Tensor]) -> Tensor:
    """Everything that is no padding is learnt, the first token's label included."""
    return batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)


BATCHES: dict[str, dict[str, Any]] = {
    "padded on the left": {"data_collator": lambda rows: padded(rows, left=True)},
    "padded on the left, positions": {"data_collator": lambda rows: padded(rows, left=True, positions=True)},
    "positions and mask": {"data_collator": lambda rows: padded(rows, positions=True)},
    "no mask": {"data_collator": lambda rows: padded(rows, mask=False)},
    "padded to 64": {"data_collator": lambda rows: padded(rows, width=64)},
    "mask of four dimensions": changed(attention_mask=block_mask),
    "float mask": changed(attention_mask=lambda batch: batch["attention_mask"].float()),
    "boolean mask": changed(attention_mask=lambda batch: batch["attention_mask"].bool()),
    "positions from 7": changed(
        position_ids=lambda b: torch.arange(7, 7 + b["input_ids"].size(1)).expand_as(b["input_ids"])
    ),
    "one row of positions": changed(position_ids=lambda b: torch.arange(b["input_ids"].size(1))[None]),
    "labels with gaps": changed(labels=every_other),
    "everything learnt": changed(labels=whole),
    "padding learnt": changed(labels=lambda batch: batch["input_ids"].clone()),
    "int32": changed(input_ids=lambda b: b["input_ids"].int(), labels=lambda b: b["labels"].long()),
    "flattened": flattened(),
    "flattened, kernels told": flattened(return_flash_attn_kwargs=True, return_seq_idx=True),
    "no cache": changed(use_cache=lambda batch: False),
    "hidden states returned": changed(output_hidden_states=lambda batch: True),
    "logits of the end alone": changed(logits_to_keep=lambda batch: 3),
}
DATA: dict[str, Any] = {
    "duplicate rows": [ROWS[1]] * 8,
    "one token each": rows_of([1] * 8),
    "no prompt": [{"input_ids": row["input_ids"], "labels": list(row["input_ids"])} for row in ROWS],
    "a row of one token": [{"input_ids": [9], "labels": [9]}, *ROWS[1:]],
    "rows without labels": rows_of((0, 5, 0, 0, 4, 6, 0, 0)),
    "a long row": rows_of((3, 450, 6, 9, 1, 12, 5, 8)),
}


class Stream(IterableDataset):
    """Rows without a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter(ROWS * 3)


EPOCHS = {"max_steps": -1, "num_train_epochs": 2}
SETTINGS: dict[str, Situation] = {
    "a ragged end": Situation(data=ROWS[:7], settings={**EPOCHS, "gradient_accumulation_steps": 3}),
    "a batch of three of seven rows": Situation(data=ROWS[:7], settings={**EPOCHS, "per_device_train_batch_size": 3}),
    "the last batch dropped": Situation(data=ROWS[:7], settings={**EPOCHS, "dataloader_drop_last": True}),
    "by length": Situation(settings={"train_sampling_strategy": "group_by_length"}),
    "a stream": Situation(data=lambda: Stream(), settings={"max_steps": 4, "gradient_accumulation_steps": 3}),
    "shards and a buffer": Situation(
        data=lambda: Dataset.from_list(ROWS).to_iterable_dataset(2).shuffle(buffer_size=3)
    ),
    "interleaved": Situation(
        data=lambda: interleave_datasets([Dataset.from_list(ROWS[:4]), Dataset.from_list(ROWS[4:])], seed=1)
    ),
    "workers": Situation(settings={"dataloader_num_workers": 1}),
    "split batches": Situation(settings={"accelerator_config": {"split_batches": True}}),
    "dispatched batches": Situation(
        data=lambda: Stream(), settings={"accelerator_config": {"dispatch_batches": True}, "max_steps": 2}
    ),
    "tokens of one device": Situation(settings={"average_tokens_across_devices": False}),
    "tokens counted": Situation(settings={"include_num_input_tokens_seen": "non_padding"}),
    "evaluated beforehand": Situation(
        settings={"eval_on_start": True, "eval_strategy": "steps", "eval_steps": 1, "prediction_loss_only": False},
        options={"eval_dataset": ROWS[:3], "compute_metrics": lambda prediction: {"rows": len(prediction.predictions)}},
    ),
    "the best checkpoint": Situation(
        settings={
            "save_strategy": "steps",
            "save_steps": 1,
            "eval_strategy": "steps",
            "eval_steps": 1,
            "load_best_model_at_end": True,
            "save_total_limit": 1,
        },
        options={"eval_dataset": ROWS[:3]},
    ),
    "logged seldom": Situation(settings={"logging_steps": 5, "logging_first_step": True, "max_steps": 3}),
    "checkpointing, reentrant": Situation(
        settings={"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}}
    ),
    "checkpointing, reentrant, LoRA": Situation(
        adapt=adapted(),
        settings={"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
    ),
    "bf16": Situation(settings={"bf16": True}, tolerance=0.1),
    "bf16, LoRA": Situation(adapt=adapted(), settings={"bf16": True}, tolerance=0.1),
    "a model in bf16": Situation(lambda: tiny_llama().bfloat16(), adapted(), tolerance=0.1),
    "model and adapter in bf16": Situation(
        lambda: tiny_llama().bfloat16(), lambda model: adapted()(model).bfloat16(), tolerance=0.1
    ),
    "a model in fp16": Situation(lambda: tiny_llama().half(), adapted(), tolerance=0.05),
    "float64": Situation(lambda: tiny_llama().double(), tolerance=1e-3),
    "batch size found": Situation(settings={"auto_find_batch_size": True}),
    "a seed of the data": Situation(settings={"data_seed": 9, "seed": 7}),
    "eager attention": Situation(lambda: tiny_llama(attn_implementation="eager")),
    "a scaled rotation": Situation(
        lambda: tiny_llama(
            rope_parameters={
                "rope_type": "yarn",
                "factor": 4.0,
                "rope_theta": 1e4,
                "original_max_position_embeddings": 16,
            }
        )
    ),
    "rotation of llama 3": Situation(
        lambda: tiny_llama(
            rope_parameters={
                "rope_type": "llama3",
                "factor": 8.0,
                "rope_theta": 1e4,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            }
        )
    ),
    "a cache of quantised keys asked for": Situation(lambda: tiny_llama(use_cache=True)),
    "a reference kept": Situation(pact={"reference": {"kind": "cache"}}),
    "a reference kept, LoRA": Situation(adapt=adapted(), pact={"reference": {"kind": "cache"}}),
    "a reference kept, flattened": Situation(options=flattened(), pact={"reference": {"kind": "cache"}}),
    "a reference kept, left": Situation(options=BATCHES["padded on the left"], pact={"reference": {"kind": "cache"}}),
    "a reference kept, positions": Situation(
        options=BATCHES["positions from 7"], pact={"reference": {"kind": "cache"}}
    ),
    "a copy": Situation(adapt=adapted(), pact={"reference": {"kind": "frozen_copy"}}),
}


class Beside(Trainer):
    """Adds a penalty on the weights."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        found = super().compute_loss(model, inputs, return_outputs=return_outputs, **kwargs)
        return found + 0.01 * sum(parameter.square().sum() for parameter in model.parameters())


class Doubled(Trainer):
    """Twice the loss."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        return 2 * super().compute_loss(model, inputs, return_outputs=return_outputs, **kwargs)


class TwoPasses(Trainer):
    """The mean of two passes over the same rows."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        return (super().compute_loss(model, dict(inputs), **kwargs) + super().compute_loss(model, inputs, **kwargs)) / 2


class LookedAtFirst(Trainer):
    """Looks at a batch without gradients, and with, before it trains on it."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        with torch.no_grad():
            model(**inputs)
        model(input_ids=inputs["input_ids"])
        return super().compute_loss(model, inputs, return_outputs=return_outputs, **kwargs)


class OnlyEasy(Trainer):
    """Leaves micro-batches out whose loss is high."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        found = super().compute_loss(model, inputs, return_outputs=return_outputs, **kwargs)
        return found * (inputs["labels"].ne(IGNORED).sum() < 12)


def summed(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    """The usual loss as a function of the user's own."""
    logits = outputs.logits[:, :-1].flatten(0, 1)
    return nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum") / num_items_in_batch


def averaged(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    """As most who write one do: the mean of each micro-batch."""
    return nn.functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


LOSSES: dict[str, Situation] = {
    "a penalty beside it": Situation(trainer=Beside),
    "doubled": Situation(trainer=Doubled, wanted="total weight"),
    "two passes": Situation(trainer=TwoPasses, wanted="total weight"),
    "looked at first": Situation(trainer=LookedAtFirst),
    "easy batches alone": Situation(trainer=OnlyEasy, wanted="weight"),
    "compute_loss_func": Situation(options={"compute_loss_func": summed}, outside=True),
    "compute_loss_func, averaging": Situation(
        options={"compute_loss_func": averaged}, outside=True, wanted="total weight"
    ),
    "compute_loss_func, not told": Situation(options={"compute_loss_func": summed}, wanted="no gradient"),
}
LONG = " ".join(["the film was slow but wonderful"] * 40)


def text(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    """Rows of one question and one answer."""
    roles = ("prompt", "user"), ("completion", "assistant")
    return [
        {key: [{"role": role, "content": one}] for (key, role), one in zip(roles, pair, strict=True)} for pair in pairs
    ]


MESSAGES = [
    {"messages": row["prompt"] + row["completion"] + row["prompt"] + row["completion"]} for row in rows_of_text()
]
GENERATION = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}{% else %}{{ message['content'] + '<|end|>' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
PLAIN = [{"text": row["completion"][0]["content"]} for row in rows_of_text()]
STRINGS = [
    {"prompt": "Q: " + r["prompt"][0]["content"], "completion": " " + r["completion"][0]["content"]}
    for r in rows_of_text()
]
SYSTEM = [{**row, "prompt": [{"role": "system", "content": "be brief"}, *row["prompt"]]} for row in rows_of_text()]
ODD = text(
    ("a", ""), ("", "b"), ("x", "y"), ("é世界🙂", "ß\u200bﬁ"), (LONG, "short"), ("short", LONG), ("q", "q"), ("q", "q")
)
TRL: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "packed, best fit": (rows_of_text(24), {"packing": True, "max_length": 48}, {}),
    "packed, wrapped": (rows_of_text(24), {"packing": True, "packing_strategy": "wrapped", "max_length": 48}, {}),
    "packed, split": (rows_of_text(24), {"packing": True, "packing_strategy": "bfd_split", "max_length": 24}, {}),
    "padding-free": (rows_of_text(8), {"padding_free": True, "max_length": None}, {}),
    "padded to 32": (rows_of_text(8), {"pad_to_multiple_of": 32}, {}),
    "the assistant's tokens": (
        MESSAGES,
        {"assistant_only_loss": True},
        {"processing_class": tiny_tokenizer(GENERATION)},
    ),
    "whole conversations": (MESSAGES, {}, {}),
    "prompts learnt too": (rows_of_text(8), {"completion_only_loss": False}, {}),
    "plain text": (PLAIN, {}, {}),
    "strings": (STRINGS, {}, {}),
    "a system's turn": (SYSTEM, {}, {}),
    "odd rows": (ODD, {}, {}),
    "cut at the end": (ODD, {"max_length": 32}, {}),
    "nll": (rows_of_text(8), {"loss_type": "nll"}, {}),
    "chunked": (rows_of_text(8), {"loss_type": "chunked_nll"}, {}),
    "activations offloaded": (rows_of_text(8), {"activation_offloading": True}, {}),
    "checkpointing": (rows_of_text(8), {"gradient_checkpointing": True}, {}),
    "another end": (rows_of_text(8), {"eos_token": "<|user|>"}, {}),
    "padded by the end": (rows_of_text(8), {"pad_token": "<|end|>"}, {}),
    "shuffled": (rows_of_text(8), {"shuffle_dataset": True}, {}),
    "tools": (
        [
            {**row, "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}
            for row in rows_of_text(8)
        ],
        {},
        {},
    ),
}
WAYS: dict[str, Situation] = {
    **{f"LoRA: {name}": Situation(adapt=adapted(**settings)) for name, settings in LORAS.items()},
    **{f"PEFT: {name}": Situation(adapt=method(name, **settings)) for name, settings in METHODS.items()},
    **{f"weights: {name}": situation for name, situation in FULL.items()},
    **{f"optimizer: {name}": situation for name, situation in OPTIMIZERS.items()},
    **{f"batch: {name}": Situation(options=options) for name, options in BATCHES.items()},
    **{f"rows: {name}": Situation(data=rows) for name, rows in DATA.items()},
    **{f"setting: {name}": situation for name, situation in SETTINGS.items()},
    **{f"loss: {name}": situation for name, situation in LOSSES.items()},
    **{
        f"TRL: {name}": Situation(
            trainer=SFTTrainer, data=lambda rows=rows: Dataset.from_list(rows), settings=settings, options=options
        )
        for name, (rows, settings, options) in TRL.items()
    },
}
__all__ = ["WAYS", "llama_config"]
