"""The model, the data and the trainer of one mode of one case."""

from __future__ import annotations

import copy
import random
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PrinterCallback
from trl import SFTConfig, SFTTrainer

from pact_lab import tiny_world
from pact_lab.bench.cases import (
    ANCHOR,
    CACHED,
    DEFAULT,
    GATE,
    GUARD,
    NAIVE,
    ONLINE_FULL,
    ONLINE_LORA,
    PLAIN,
    PLAIN_LOGITS,
    REFERENCE_CHECK,
    SIZES,
    WATCH,
    WATCH_GREEDY,
    Case,
)
from pact_lab.bench.naive import LogitsTrainer, NaiveTrainer
from pact_plugins import PACTCallback, PACTConfig, SafetyTokens
from pact_plugins.modeling import assistant_header_ids
from pact_plugins.settings import merged

_SETTINGS: dict[str, dict[str, Any]] = {
    CACHED: {"preset": "match", "reference": {"kind": "cache"}},
    ONLINE_LORA: {"preset": "match", "reference": {"kind": "adapter_off"}},
    ONLINE_FULL: {"preset": "match", "reference": {"kind": "frozen_copy"}},
    GATE: {"preset": "off", "row_gate": True},
    ANCHOR: {"preset": "off", "anchor": True},
    DEFAULT: {},
    GUARD: {"preset": "guard"},
    WATCH: {"preset": "off", "drift_watch": {"every": 1}},
    WATCH_GREEDY: {"preset": "off", "drift_watch": {"every": 1, "greedy": True}},
    REFERENCE_CHECK: {"preset": "match", "reference": {"kind": "adapter_off", "check_every": 1}},
}
# Lengths of rows that fill a packed sequence together.
_PACKED = (3 / 8, 1 / 4, 1 / 4, 1 / 8)


def load_tokenizer() -> Any:
    """The toy benchmark's: only its chat template is needed, the rows are random ids."""
    return AutoTokenizer.from_pretrained(tiny_world.aligned_path())


def build_model(case: Case, seed: int = 0) -> LlamaForCausalLM:
    """A Llama model with random weights; bfloat16 on a GPU, else float32."""
    size = SIZES[case.size]
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=case.vocab_size,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        max_position_embeddings=max(8192, case.sequence_length),
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    cuda = torch.cuda.is_available()
    with torch.device("cuda" if cuda else "cpu"):
        return LlamaForCausalLM._from_config(
            config, dtype=torch.bfloat16 if cuda else torch.float32, attn_implementation=_attention(case)
        )


def _attention(case: Case) -> str:
    """Packed rows are kept apart by flash-attn's kernels where they are installed, else by SDPA's mask."""
    varlen = case.packing and torch.cuda.is_available() and find_spec("flash_attn") is not None
    return "flash_attention_2" if varlen else "sdpa"


@lru_cache(maxsize=1)
def starting_model(case: Case) -> LlamaForCausalLM:
    """The model whose frozen weights all modes of a LoRA case share."""
    return build_model(case)


def _model_to_train(case: Case) -> LlamaForCausalLM:
    """A model with modules of its own; with LoRA, around frozen weights that are held once for all modes."""
    if case.training != "lora":
        return build_model(case)
    model = starting_model(case)
    return copy.deepcopy(model, {id(weight): weight for weight in model.parameters()})


def build_rows(case: Case, count: int) -> Dataset:
    """``count`` rows of random ids, the second half of each a response; with packing, ``count`` sequences full."""
    generator = random.Random(0)
    shares = _PACKED if case.packing else (1.0,)
    rows = []
    for length in [int(share * case.sequence_length) for _ in range(count) for share in shares]:
        half = length // 2
        rows.append(
            {
                "input_ids": generator.choices(range(2, case.vocab_size), k=length),
                "completion_mask": [0] * (length - half) + [1] * half,
            }
        )
    return Dataset.from_list(rows)


def build_safety_tokens(case: Case, tokenizer: Any) -> SafetyTokens:
    """Ids spread over the vocabulary, with weights of both signs."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(case.vocab_size - 2, generator=generator)[: case.safety_tokens] + 2
    direction = torch.zeros(case.vocab_size)
    direction[chosen] = torch.randn(case.safety_tokens, generator=generator)
    probability = torch.full((case.vocab_size,), 1.0 / case.vocab_size)
    return SafetyTokens.from_direction(
        direction / direction.norm(),
        aligned_probability=probability,
        contrast_probability=probability,
        tokenizer=tokenizer,
        settings={"scorer": "random", "refusal_opening_tokens": chosen[:5].tolist()},
    )


def build_trainer(case: Case, mode: str, *, steps: int, folder: Path) -> SFTTrainer:
    """The real ``SFTTrainer`` for one mode: ``steps`` optimizer steps over one epoch of rows."""
    tokenizer = load_tokenizer()
    tokens = build_safety_tokens(case, tokenizer)
    settings: dict[str, Any] = {
        "model": _model_to_train(case),
        "processing_class": tokenizer,
        "train_dataset": build_rows(case, steps * case.batch_size * case.accumulation),
        "args": _arguments(case, steps, folder / mode),
        "peft_config": LoraConfig(r=8, lora_alpha=16, target_modules="all-linear") if case.training == "lora" else None,
    }
    if mode == NAIVE:
        header_ids = assistant_header_ids(tokenizer)
        trainer: SFTTrainer = NaiveTrainer(**settings, safety_tokens=tokens, header_ids=header_ids)
    else:
        trainer = (LogitsTrainer if mode == PLAIN_LOGITS else SFTTrainer)(**settings)
    if mode in _SETTINGS:
        config = PACTConfig(**merged(_SETTINGS[mode], {"reference": {"cache_path": str(folder / "cache")}}))
        trainer.add_callback(PACTCallback(config, safety_tokens=tokens))
    elif mode not in (PLAIN, PLAIN_LOGITS, NAIVE):
        raise ValueError(f"unknown mode {mode!r}")
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(case: Case, steps: int, output: Path) -> SFTConfig:
    cuda = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(output),
        max_steps=steps,
        per_device_train_batch_size=case.batch_size,
        gradient_accumulation_steps=case.accumulation,
        learning_rate=1e-4,
        max_length=case.sequence_length,
        # Rows of ids are otherwise trained on as a whole, whatever their mask says.
        completion_only_loss=True,
        gradient_checkpointing=cuda,
        use_liger_kernel=case.liger_kernel,
        packing=case.packing,
        optim="sgd" if case.stateless else SFTConfig.optim,
        bf16=cuda,
        use_cpu=not cuda,
        save_strategy="no",
        report_to=[],
        logging_steps=10,
        disable_tqdm=True,
        seed=0,
    )
