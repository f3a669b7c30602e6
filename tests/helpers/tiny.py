"""Random models of a few thousand parameters, and a tokenizer of our own. Nothing is downloaded."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from pact_plugins.safety_tokens import SafetyTokens

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIAL_TOKENS = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]

_SENTENCES = [
    "I cannot help with that request, because somebody could get hurt.",
    "Sorry, but I can't assist with this. Please ask for something else.",
    "Sure, here is a simple plan for a garden, a letter and a small party.",
    "The film was slow, but the music and the last scene were wonderful.",
    "The quick brown fox jumps over the lazy dog.",
]


@cache
def _trained() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    return tokenizer.to_str()


def tiny_tokenizer(chat_template: str | None = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 360 tokens with padding, end-of-turn and role tokens."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained()), pad_token="<|pad|>", eos_token="<|end|>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|assistant|>", "<|system|>"]})
    tokenizer.chat_template = chat_template
    return tokenizer


def llama_config(**overrides: Any) -> LlamaConfig:
    """Two layers of 32 dimensions."""
    settings: dict[str, Any] = {
        "vocab_size": 368,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
        "initializer_range": 0.3,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 1,
    }
    return LlamaConfig(**{**settings, **overrides})


def tiny_llama(seed: int = 0, **overrides: Any) -> Any:
    """A random Llama in float32, in evaluation mode; it has eight rows more than the tokenizer has tokens."""
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(llama_config(**overrides), dtype=torch.float32).eval()


def tiny_safety_tokens(tokenizer: Any = None, vocabulary_size: int = 368, count: int = 12, seed: int = 0) -> Any:
    """Ordinary tokens with signed entries, most of them positive."""
    tokenizer = tokenizer or tiny_tokenizer()
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randperm(len(tokenizer) - 40, generator=generator)[:count] + 20
    direction = torch.zeros(vocabulary_size)
    direction[ids] = torch.randn(count, generator=generator) + 0.7
    probability = torch.rand(vocabulary_size, generator=generator)
    return SafetyTokens.from_direction(
        direction,
        aligned_probability=probability,
        contrast_probability=probability.flip(0),
        tokenizer=tokenizer,
        settings={"scorer": "by hand"},
    )


REFUSAL_ROWS = [
    {
        "prompt": f"please do the bad thing number {number}",
        "response": response,
    }
    for number, response in enumerate(_SENTENCES[:2] * 5)
]


def write_refusals(path: Path, rows: list[dict[str, str]] | None = None) -> Path:
    """A JSONL file of refusals."""
    path.write_text("".join(json.dumps(row) + "\n" for row in (rows or REFUSAL_ROWS)), encoding="utf-8")
    return path


def save_model(folder: Path, model: Any, tokenizer: Any = None) -> str:
    """Write a checkpoint with its tokenizer and return its path."""
    model.save_pretrained(folder)
    (tokenizer or tiny_tokenizer()).save_pretrained(folder)
    return str(folder)
