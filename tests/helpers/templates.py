"""Small chat templates in the styles of well-known families, each with a tokenizer that has its control tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

_SENTENCES = [
    "I cannot help with that request, because somebody could get hurt.",
    "Sorry, but I can't assist with this. Please ask for something else.\n\nUser: hello\n\nAssistant: well",
    "Sure, here is a simple plan for a garden, a letter and a small party.\nsystem user assistant model tool",
    "Today's date: 3 May. You are a helpful assistant.\n\n\n The film was slow, but the music was wonderful.",
    "The quick brown fox jumps over the lazy dog. Is it so? It is!",
]


@dataclass(frozen=True)
class Family:
    """A style of chat template.

    Attributes:
        control: the tokens that no plain text holds; the first one ends a turn, or the sequence.
        template: in jinja.
        start: the token that begins every sequence, if one does.
        system: whether it takes system turns.
    """

    control: tuple[str, ...]
    template: str
    start: str | None = None
    system: bool = True


_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{{ m.content }}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_CHATML_MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m.content + '<|im_end|>' }}"
    "{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_LLAMA3 = (
    "{{ '<|begin|>' }}{% if messages[0].role == 'system' %}{% set said = messages[0].content | trim %}"
    "{% set rest = messages[1:] %}{% else %}{% set said = '' %}{% set rest = messages %}{% endif %}"
    "{{ '<|head|>system<|/head|>\n\nToday\\'s date: 3 May\n\n' + said + '<|eot|>' }}"
    "{% for m in rest %}{{ '<|head|>' + ('ipython' if m.role == 'tool' else m.role) + '<|/head|>\n\n' }}"
    "{% if m.tool_calls %}{{ m.tool_calls[0].function | tojson }}{% else %}{{ m.content | trim }}{% endif %}"
    "{{ '<|eot|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\n\n' }}{% endif %}"
)
_QWEN3 = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}{% for m in messages %}{% if m.role == 'tool' %}"
    "{{ '<|im_start|>user\n<tool_response>\n' + m.content + '\n</tool_response><|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
    "{% set said = m.content.split('</think>')[-1].lstrip('\n') %}{% set thought = m.reasoning_content or '' %}"
    "{% if '</think>' in m.content %}"
    "{% set thought = m.content.split('</think>')[0].split('<think>')[-1].strip('\n') %}{% endif %}"
    "{% if loop.index0 > ns.last and (loop.last or thought) %}"
    "{{ '<think>\n' + thought.strip('\n') + '\n</think>\n\n' }}{% endif %}{{ said }}"
    "{% for call in m.tool_calls or [] %}"
    "{{ '\n' if said }}{{ '<tool_call>\n' + (call.function | tojson) + '\n</tool_call>' }}{% endfor %}"
    "{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
_GEMMA = (
    "{{ '<bos>' }}{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + (m.content | trim) + '</turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}"
)
_MISTRAL = (
    "{{ '<s>' }}{% if messages[0].role == 'system' %}{% set said = messages[0].content + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set said = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m.role == 'user' %}{{ '[INST] ' + (said if loop.index0 == 0 else '') "
    "+ m.content + '[/INST]' }}{% elif m.tool_calls %}"
    "{{ '[TOOL_CALLS] [' + (m.tool_calls[0].function | tojson) + ']</s>' }}{% elif m.role == 'tool' %}"
    "{{ '[TOOL_RESULTS] ' + m.content + '[/TOOL_RESULTS]' }}{% elif m.role == 'assistant' %}"
    "{{ ' ' + m.content + '</s>' }}{% else %}{{ raise_exception('unknown role') }}{% endif %}{% endfor %}"
)
_PLAIN = (
    "{% for m in messages %}{{ 'User: ' if m.role == 'user' else 'Assistant: ' if m.role == 'assistant' else '' }}"
    "{{ m.content }}{{ '</s>' if m.role == 'assistant' else '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

FAMILIES = {
    "chatml": Family(("<|im_end|>", "<|im_start|>"), _CHATML),
    "chatml marked": Family(("<|im_end|>", "<|im_start|>"), _CHATML_MARKED),
    "llama3": Family(("<|eot|>", "<|begin|>", "<|head|>", "<|/head|>"), _LLAMA3, start="<|begin|>"),
    "qwen3": Family(("<|im_end|>", "<|im_start|>", "<think>", "</think>", "<tool_call>", "</tool_call>"), _QWEN3),
    "gemma": Family(("<eos>", "<bos>", "<turn>", "</turn>"), _GEMMA, start="<bos>", system=False),
    "mistral": Family(
        ("</s>", "<s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"), _MISTRAL, start="<s>"
    ),
    "plain": Family(("</s>",), _PLAIN),
}


@cache
def _trained(control: tuple[str, ...]) -> str:
    tokenizer = Tokenizer(models.BPE())
    # As in Llama-3 and Qwen: a full stop and the line breaks after it are one piece, and so are a space and a word.
    split = pre_tokenizers.Split(
        pattern=_regex(r"\s?[A-Za-z]+|\s?[^\sA-Za-z0-9]+[\r\n]*|\s*[\r\n]+|\s+|\d"), behavior="isolated"
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|pad|>", *control],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    return tokenizer.to_str()


def _regex(pattern: str) -> Any:
    from tokenizers import Regex

    return Regex(pattern)


def family_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 400 tokens with the family's control tokens and template."""
    family = FAMILIES[name]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained(family.control)),
        pad_token="<|pad|>",
        eos_token=family.control[0],
        bos_token=family.start,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(family.control[1:])})
    tokenizer.chat_template = family.template
    return tokenizer
