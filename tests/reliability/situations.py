"""Public ways to train a model: architectures, adapters, arguments, batches, data, losses, rows of TRL."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
import yaml
from datasets import Dataset, interleave_datasets
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.data import IterableDataset
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    DataCollatorWithFlattening,
    Trainer,
    TrainerCallback,
)
from trl import SFTTrainer

from tests.helpers.plain_trainer import IGNORED, collate
from tests.helpers.tiny import llama_config, save_model, tiny_llama, tiny_tokenizer
from tests.helpers.trainers import rows as rows_of_text
from tests.reliability.oracle import Situation, rows

ROWS = list(Situation.data)
ONE = {"max_steps": 1}
NO_GATE = {"row_gate": False}
_READ = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
_DROPOUTS = ("dropout", "attention_dropout", "hidden_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop")
_MORE_DROPOUTS = ("activation_dropout", "layerdrop", "residual_dropout", "summary_first_dropout", "embedding_dropout")
COMMON: dict[str, Any] = {
    "vocab_size": 368,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "tie_word_embeddings": False,
    **dict.fromkeys([*_DROPOUTS, *_MORE_DROPOUTS], 0.0),
}


def prepared(model: Any) -> Any:
    """In float32, with weights large enough to tell two tokens apart."""
    model = model.float()
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
    return model.eval()


def architecture(kind: str, settings: dict[str, Any]) -> Any:
    """The causal language model of a ``model_type``."""
    torch.manual_seed(0)
    settings = {name: value for name, value in {**COMMON, **settings}.items() if value is not None}
    config = AutoConfig.for_model(kind, **settings)
    return prepared(AutoModelForCausalLM.from_config(config, attn_implementation="eager"))


def adapted(model: Any, **settings: Any) -> Any:
    """LoRA of rank 4 on it."""
    config = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "up_proj", "down_proj"], **settings}
    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **config))


def with_method(model: Any, name: str, **settings: Any) -> Any:
    """Another adapter of PEFT's on it."""
    return get_peft_model(model, getattr(peft, name)(task_type="CAUSAL_LM", **settings))


def two_adapters(model: Any, both: bool = False) -> Any:
    """One that trains, and one beside it that is idle, or on as well."""
    found = adapted(model)
    found.add_adapter("other", LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    if both:
        found.base_model.set_adapter(["default", "other"])
    return found


def only(*words: str) -> Callable[[Any], Any]:
    """Full training of the parameters whose names hold one of these."""

    def adapt(model: Any) -> Any:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(any(word in name for word in words))
        return model

    return adapt


def normed(model: Any, name: str) -> Any:
    """Direction and length of a layer's weight apart."""
    parametrizations.weight_norm(model.get_submodule(name))
    return model


def masked_rows(model: Any) -> Any:
    """A gradient hook that lets a few rows of the embedding train alone."""
    kept = torch.zeros(368, 1)
    kept[5:180] = 1.0
    model.get_input_embeddings().weight.register_hook(lambda gradient: gradient * kept)
    return model


class WithAuxiliary(transformers.LlamaForCausalLM):
    """A penalty of the model's own in its loss, as routers and prediction heads have."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        found = super().forward(*args, **kwargs)
        if found.loss is not None:
            found.loss = found.loss + 0.01 * found.logits.logsumexp(-1).square().mean()
        return found


def special(make: Any, seed: int = 0) -> Any:
    """A model made from a tiny Llama's configuration."""
    torch.manual_seed(seed)
    return make(llama_config()).eval()


class Wrapped(nn.Module):
    """A model inside a module of the user's own."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.config = inner, inner.config

    def forward(self, **inputs: Any) -> Any:
        return self.inner(**inputs)


def seeing(kind: str, **vision: Any) -> Any:
    """A model of texts and images, which is trained on texts."""
    torch.manual_seed(0)
    text = {**COMMON, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}}
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "patch_size": 14, "image_size": 28}
    layers = {"num_hidden_layers": 1, "depth": 1, "num_heads": 2, "out_hidden_size": 32}
    config = AutoConfig.for_model(kind, text_config=text, vision_config={**sizes, **layers, **vision})
    return prepared(AutoModelForImageTextToText.from_config(config))


def resized() -> Any:
    """An embedding larger than the model was made with."""
    found = tiny_llama()
    torch.manual_seed(3)
    found.resize_token_embeddings(400, mean_resizing=False)
    return found


@cache
def _on_disk() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    save_model(Path(folder.name), tiny_llama())
    return folder


def loaded() -> Any:
    """From a checkpoint, whose place is known."""
    return AutoModelForCausalLM.from_pretrained(_on_disk().name, dtype=torch.float32).eval()


class Unfreeze(TrainerCallback):
    """Lets everything train from the second step on."""

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        for parameter in model.parameters():
            parameter.requires_grad_(True)


def give_muon(trainer: Any) -> None:
    """An optimizer of the user's own."""
    trainer.optimizer = torch.optim.Muon([p for p in trainer.model.parameters() if p.requires_grad], lr=0.01)


TIED = partial(tiny_llama, tie_word_embeddings=True)
YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 16}
LLAMA3 = {**YARN, "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
WEIGHTS: dict[str, Situation] = {
    "resumed in full": Situation(loaded, moves=True, resumed=True, settings={"max_steps": 3}),
    "from a path, LoRA": Situation(
        loaded, adapted, pact={"reference": {"kind": "frozen_copy"}}, wanted="reference.path"
    ),
    "frozen first layer": Situation(adapt=only("layers.1", "lm_head", "norm")),
    "norms alone": Situation(adapt=only("norm")),
    "head alone": Situation(adapt=only("lm_head")),
    "embedding alone": Situation(adapt=only("embed_tokens")),
    "biases alone": Situation(partial(tiny_llama, attention_bias=True, mlp_bias=True), only("bias")),
    "tied embeddings": Situation(TIED),
    "LoRA on a tied head": Situation(TIED, partial(adapted, target_modules=["lm_head"])),
    "saved tied embedding": Situation(
        TIED, partial(adapted, modules_to_save=["embed_tokens"], ensure_weight_tying=True)
    ),
    "resized embedding": Situation(resized),
    "two adapters": Situation(adapt=two_adapters),
    "two adapters at once": Situation(adapt=partial(two_adapters, both=True)),
    "aLoRA, invoked": Situation(
        adapt=partial(adapted, alora_invocation_tokens=[9, 10], target_modules=["q_proj", "v_proj"]),
        data=[
            {"input_ids": [*row["input_ids"][:2], 9, 10, *row["input_ids"][4:]], "labels": row["labels"]}
            for row in ROWS
        ],
    ),
    "masked rows of the embedding": Situation(adapt=masked_rows),
    "weight norm on a layer": Situation(adapt=partial(normed, name="model.layers.0.mlp.up_proj")),
    "weight norm on the head": Situation(adapt=partial(normed, name="lm_head")),
    "unfrozen in mid-run": Situation(adapt=only("layers.1"), callbacks=lambda: [Unfreeze()]),
    "LoRA, then everything": Situation(
        adapt=adapted, callbacks=lambda: [Unfreeze()], moves=True, settings={"max_steps": 3}
    ),
    "a model in bf16": Situation(lambda: tiny_llama().bfloat16(), adapted, tolerance=0.1),
    "a model in fp16": Situation(lambda: tiny_llama().half(), adapted, tolerance=0.05),
    "model and adapter in bf16": Situation(
        lambda: tiny_llama().bfloat16(), lambda model: adapted(model).bfloat16(), tolerance=0.1
    ),
    "float64": Situation(lambda: tiny_llama().double()),
    "eager attention": Situation(partial(tiny_llama, attn_implementation="eager")),
    "rotation of yarn": Situation(partial(tiny_llama, rope_parameters=YARN)),
    "rotation of llama 3": Situation(partial(tiny_llama, rope_parameters=LLAMA3)),
    "Muon": Situation(adapt=only("q_proj", "down"), moves=True, change=give_muon),
    "a module of the user's own": Situation(adapt=Wrapped, wanted="output embedding"),
    "gemma 3 with images": Situation(partial(seeing, "gemma3"), adapted),
    "gemma 3 with images, in full": Situation(partial(seeing, "gemma3"), only("language_model")),
    "qwen 2.5 with images": Situation(partial(seeing, "qwen2_5_vl"), adapted),
    "qwen 3 with images": Situation(partial(seeing, "qwen3_vl"), adapted),
    "mistral 3 with images": Situation(partial(seeing, "mistral3"), adapted),
    "smolvlm": Situation(partial(seeing, "smolvlm"), adapted),
    "llava": Situation(partial(seeing, "llava"), adapted),
    "a loss with a penalty": Situation(partial(special, WithAuxiliary)),
}


def collating(change: Callable[[dict[str, Any]], dict[str, Any]], **more: Any) -> Situation:
    """Batches that are changed after they were made."""
    return Situation(
        options={"data_collator": lambda rows: (lambda batch: {**batch, **change(batch)})(collate(rows))}, **more
    )


def on_the_left(found: Any) -> dict[str, Tensor]:
    """Padding in front."""
    batch = collate(found)
    order = (batch["attention_mask"] != 0).long().sort(dim=1, stable=True).indices
    return {name: value.gather(1, order) for name, value in batch.items()}


def left_with_positions(rows: Any) -> dict[str, Tensor]:
    """Padding in front, and positions that start after it."""
    batch = on_the_left(rows)
    return {**batch, "position_ids": (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)}


def without_mask(rows: Any) -> dict[str, Tensor]:
    """Padding that the model reads."""
    return {name: value for name, value in collate(rows).items() if name != "attention_mask"}


def block_mask(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A causal mask of four dimensions."""
    length = batch["input_ids"].size(1)
    seen = torch.ones(length, length).tril().bool()[None, None] & batch["attention_mask"].bool()[:, None, None]
    return {"attention_mask": torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)}


def learning(*, gaps: bool = False, prompt: bool = False, padding: bool = False) -> Callable[[Any], dict[str, Tensor]]:
    """Labels with gaps, of prompts, of padding."""

    def change(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        labels = batch["input_ids"].clone() if prompt or padding else batch["labels"].clone()
        if gaps:
            labels[:, 1::2] = IGNORED
        return {"labels": labels if padding else labels.masked_fill(batch["attention_mask"] == 0, IGNORED)}

    return change


def embedded(rows: Any) -> dict[str, Tensor]:
    """Vectors instead of ids."""
    batch = collate(rows)
    torch.manual_seed(0)
    return {"inputs_embeds": torch.randn(*batch.pop("input_ids").shape, 32), **batch}


def flattened(**settings: Any) -> Situation:
    """Rows one after the other, without padding."""
    own = {name: settings.pop(name) for name in ("pact", "tolerance", "settings", "wanted") if name in settings}
    return Situation(options={"data_collator": DataCollatorWithFlattening(**settings)}, **own)


def counted(batch: dict[str, Tensor]) -> Tensor:
    """(B, L) 0, 1, 2, ..."""
    return torch.arange(batch["input_ids"].size(1)).expand_as(batch["input_ids"])


CACHE = {"reference": {"kind": "cache"}}
BATCHES: dict[str, Situation] = {
    "padded on the left": Situation(options={"data_collator": on_the_left}),
    "padded on the left, positions": Situation(options={"data_collator": left_with_positions}),
    "padded on the left, a cached reference": Situation(
        options={"data_collator": on_the_left}, pact=CACHE, tolerance=1e-4
    ),
    "no mask": Situation(options={"data_collator": without_mask}),
    "mask of four dimensions": collating(block_mask),
    "mask of four dimensions, no gate": collating(block_mask, pact=NO_GATE),
    "float mask": collating(lambda batch: {"attention_mask": batch["attention_mask"].float()}),
    "boolean mask": collating(lambda batch: {"attention_mask": batch["attention_mask"].bool()}),
    "positions from 7": collating(lambda batch: {"position_ids": counted(batch) + 7}),
    "positions from 7, a cached reference": collating(
        lambda batch: {"position_ids": counted(batch) + 7}, pact=CACHE, tolerance=1e-4
    ),
    "one row of positions": collating(lambda batch: {"position_ids": counted(batch)[:1]}),
    "labels with gaps": collating(learning(gaps=True)),
    "everything learnt": collating(learning(prompt=True), pact=NO_GATE),
    "everything learnt, gated": collating(learning(prompt=True)),
    "padding learnt": collating(learning(padding=True), pact=NO_GATE),
    "ids in 32 bits": collating(lambda batch: {"input_ids": batch["input_ids"].int()}),
    "vectors instead of ids": Situation(options={"data_collator": embedded}, wanted="inputs_embeds"),
    "flattened": flattened(),
    "flattened, with a cache": flattened(settings={"use_cache": True}, wanted="use_cache"),
    "flattened, kernels told": flattened(return_flash_attn_kwargs=True, return_seq_idx=True),
    "flattened, a cached reference": flattened(pact=CACHE, tolerance=1e-4),
    "no cache": collating(lambda batch: {"use_cache": False}),
    "hidden states returned": collating(lambda batch: {"output_hidden_states": True}),
}


class Stream(IterableDataset):
    """Rows without a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter(ROWS * 3)


def shards() -> Any:
    """A stream of two shards, shuffled in a buffer."""
    return Dataset.from_list(ROWS).to_iterable_dataset(2).shuffle(seed=0, buffer_size=3)


def mixed() -> Any:
    """Two sets, row by row."""
    return interleave_datasets([Dataset.from_list(ROWS[:4]), Dataset.from_list(ROWS[4:])], seed=1)


DATA: dict[str, Situation] = {
    "duplicate rows": Situation(data=[ROWS[1]] * 8),
    "one token each": Situation(data=rows(*[1] * 8)),
    "a row of one token": Situation(data=[{"input_ids": [9], "labels": [9]}, *ROWS[1:]]),
    "rows without labels": Situation(data=rows(0, 5, 0, 0, 4, 6, 0, 0)),
    "a long row": Situation(data=rows(3, 450, 6, 9, 1, 12, 5, 8)),
    "a stream": Situation(data=lambda: Stream(), settings={"max_steps": 4, "gradient_accumulation_steps": 3}),
    "shards and a buffer": Situation(data=shards),
    "two sets, row by row": Situation(data=mixed),
    "dispatched batches": Situation(
        data=lambda: Stream(), settings={"accelerator_config": {"dispatch_batches": True}, "max_steps": 2}
    ),
}


class Penalised(Trainer):
    """Adds a penalty on the weights."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        found = super().compute_loss(model, inputs, return_outputs=return_outputs, **kwargs)
        return found + 0.01 * sum(parameter.square().sum() for parameter in model.parameters())


class Distilled(Trainer):
    """Adds the distance from a teacher's logits."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        return loss + 0.01 * (outputs.logits - outputs.logits.detach().roll(1, -1)).square().mean()


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


class Uncounted(Trainer):
    """Tells the model nothing of the other micro-batches."""

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        return super().get_batch_samples(*args, **kwargs)[0], None


class CountsTokens(Trainer):
    """Divides by all tokens instead of those that are learnt."""

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        found, _ = super().get_batch_samples(*args, **kwargs)
        return found, sum(batch["attention_mask"].sum() for batch in found)


class InEvaluation(Trainer):
    """Switches the model's dropout off by its mode."""

    def compute_loss(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        return super().compute_loss(model.eval(), *args, **kwargs)


def own_loss(outputs: Any, labels: Any, num_items_in_batch: Any = None, averaged: bool = False) -> Any:
    """The usual loss as a function of the user's own; most who write one average each micro-batch."""
    logits, targets = outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    loss = nn.functional.cross_entropy(logits, targets, reduction="mean" if averaged else "sum")
    return loss if averaged else loss / num_items_in_batch


def losing(trainer: Any = Trainer, function: Any = None, **more: Any) -> Situation:
    """A loss of the user's own, of which no response can be taken out where PACT joins the trainer's."""
    options = {"compute_loss_func": function} if function else {}
    return Situation(trainer=trainer, options=options, pact=NO_GATE, **more)


LOSSES: dict[str, Situation] = {
    "a penalty beside it": losing(Penalised),
    "distillation beside it": losing(Distilled),
    "doubled": losing(Doubled, wanted="total weight"),
    "two passes": Situation(trainer=TwoPasses, passes=2, pact={**NO_GATE, "anchor": False}),
    "looked at first": losing(LookedAtFirst),
    "nothing counted": Situation(trainer=Uncounted),
    "all tokens counted": Situation(trainer=CountsTokens, wanted="total weight"),
    "trained in evaluation mode": Situation(trainer=InEvaluation, wanted="never computed"),
    "easy batches alone": losing(OnlyEasy, wanted="weight"),
    "compute_loss_func": losing(function=own_loss, outside=True),
    "compute_loss_func, averaging": losing(function=partial(own_loss, averaged=True), outside=True),
    "compute_loss_func, not told": losing(function=own_loss, wanted="trainer="),
}
LONG = " ".join(["the film was slow but wonderful"] * 40)
PAIRS = [("a", ""), ("", "b"), ("x", "y"), ("é世界🙂", "ß\u200bﬁ"), (LONG, "short"), ("short", LONG), ("q", "q")]
ODD = [
    {"prompt": [{"role": "user", "content": one}], "completion": [{"role": "assistant", "content": two}]}
    for one, two in PAIRS
]
CHATS = [{"messages": 2 * (row["prompt"] + row["completion"])} for row in rows_of_text()]
TURN = "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}{% if message['role'] == 'assistant' %}"
GENERATION = (
    TURN + "{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}{% else %}{{ message['content'] + "
    "'<|end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
TEXT = [{"text": row["completion"][0]["content"]} for row in rows_of_text()]
STRINGS = [
    {"prompt": "Q: " + row["prompt"][0]["content"], "completion": " " + row["completion"][0]["content"]}
    for row in rows_of_text()
]
SYSTEM = [{**row, "prompt": [{"role": "system", "content": "be brief"}, *row["prompt"]]} for row in rows_of_text()]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def sft(rows: Any, options: dict[str, Any] | None = None, more: dict[str, Any] | None = None, **settings: Any) -> Any:
    """TRL's trainer on these rows."""
    data = partial(Dataset.from_list, rows)
    return Situation(trainer=SFTTrainer, data=data, settings=settings, options=options or {}, **(more or {}))


MANY, FEW, UNGATED = rows_of_text(24), rows_of_text(8), {"pact": NO_GATE}
TRL: dict[str, Situation] = {
    "packed, best fit": sft(MANY, packing=True, max_length=48),
    "packed, best fit, no gate": sft(MANY, more=UNGATED, packing=True, max_length=48),
    "packed, wrapped": sft(MANY, more=UNGATED, packing=True, packing_strategy="wrapped", max_length=48),
    "packed, split": sft(MANY, more=UNGATED, packing=True, packing_strategy="bfd_split", max_length=24),
    "padding-free": sft(FEW, padding_free=True, max_length=None),
    "padded to 32": sft(FEW, pad_to_multiple_of=32),
    "the assistant's tokens": sft(CHATS, {"processing_class": tiny_tokenizer(GENERATION)}, assistant_only_loss=True),
    "whole conversations": sft(CHATS, more=UNGATED),
    "whole conversations, gated": sft(CHATS),
    "prompts learnt too": sft(FEW, more=UNGATED, completion_only_loss=False),
    "plain text": sft(TEXT, more=UNGATED),
    "plain text, gated": sft(TEXT, more={"wanted": "row_gate"}),
    "strings": sft(STRINGS, more=UNGATED),
    "a system's turn": sft(SYSTEM),
    "odd rows": sft(ODD),
    "cut at the end": sft(ODD, max_length=32),
    "nll": sft(FEW, loss_type="nll"),
    "chunked": sft(FEW, loss_type="chunked_nll"),
    "dft": sft(FEW, more={"wanted": "loss_type"}, loss_type="dft"),
    "checkpointing": sft(FEW, gradient_checkpointing=True),
    "another end": sft(FEW, eos_token="<|user|>"),
    "padded by the end": sft(FEW, pad_token="<|end|>"),
    "shuffled": sft(FEW, shuffle_dataset=True),
    "tools": sft([{**row, "tools": [TOOL]} for row in FEW]),
    "a stream": Situation(trainer=SFTTrainer, data=lambda: Dataset.from_list(MANY).to_iterable_dataset()),
    "rows of ids": sft([{key: row[key] for key in row} for row in ROWS]),
    "LoRA, packed, checkpointing": sft(
        MANY, more={"adapt": adapted}, packing=True, max_length=48, gradient_checkpointing=True
    ),
}


def training(read: dict[str, Any]) -> Situation:
    """From the table's keys: those of a situation, and arguments of the trainer."""
    settings = dict(read)
    names = ("moves", "clipped", "resumed", "wanted", "tolerance", "pact")
    own = {name: settings.pop(name) for name in names if name in settings}
    adapt = adapted if settings.pop("adapter", False) else Situation.adapt
    return Situation(adapt=adapt, data=ROWS[: settings.pop("rows", 8)], settings=settings, **own)


def _read_tables() -> Iterator[tuple[str, Situation]]:
    for number, (kind, settings) in enumerate(_READ["models"].items()):
        targets, wanted = settings.pop("lora", None), settings.pop("wanted", "exact")
        model = partial(architecture, kind, settings)
        name, adapt = "full", Situation.adapt
        if targets or number % 2:
            name, adapt = "LoRA", partial(adapted, target_modules=targets or "all-linear")
        yield f"model, {name}: {kind}", Situation(model, adapt, settings=ONE, wanted=wanted)
    for name, settings in _READ["loras"].items():
        wanted = settings.pop("wanted", "exact")
        yield f"LoRA: {name}", Situation(adapt=partial(adapted, **settings), wanted=wanted)
    for name, settings in _READ["methods"].items():
        wanted = settings.pop("wanted", "exact")
        yield f"PEFT: {name}", Situation(adapt=partial(with_method, name=name, **settings), wanted=wanted)
    for name, read in _READ["trainings"].items():
        yield f"training: {name}", training(read)


_KINDS = {"weights": WEIGHTS, "batch": BATCHES, "data": DATA, "loss": LOSSES, "TRL": TRL}
SITUATIONS = dict(_read_tables()) | {
    f"{kind}: {name}": situation for kind, situations in _KINDS.items() for name, situation in situations.items()
}
