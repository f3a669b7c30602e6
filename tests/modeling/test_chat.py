"""Chat templates as token ids."""

from __future__ import annotations

import pytest

from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import assistant_header_ids, prompt_ids, response_ids
from tests.helpers.tiny import CHAT_TEMPLATE, tiny_tokenizer

NO_GENERATION_PROMPT = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
# Mistral's way: the assistant's turn simply follows.
WITH_BEGIN = "<|system|>" + CHAT_TEMPLATE
# Reasoning models: earlier turns are rewritten, and the generation prompt opens a thought.
REASONING = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|assistant|>' + m['content'].split('</think>')[-1] }}"
    "{{ '<|end|>' }}{% else %}{{ '<|user|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|><think>' }}{% endif %}"
)


def text(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def test_prompt_and_response_follow_the_template():
    tokenizer = tiny_tokenizer()
    assert text(tokenizer, prompt_ids(tokenizer, "please help")) == "<|user|>please help<|end|><|assistant|>"
    assert text(tokenizer, response_ids(tokenizer, "please help", "Sorry.")) == "Sorry.<|end|>"
    assert assistant_header_ids(tokenizer) == tokenizer.convert_tokens_to_ids(["<|assistant|>"])


def test_special_tokens_are_not_added_twice():
    tokenizer = tiny_tokenizer()
    ids = prompt_ids(tokenizer, "x")
    assert ids.count(tokenizer.eos_token_id) == 1
    assert ids[0] == tokenizer.convert_tokens_to_ids("<|user|>")


def test_a_given_header_wins():
    tokenizer = tiny_tokenizer()
    assert text(tokenizer, assistant_header_ids(tokenizer, "<|assistant|>Sure")) == "<|assistant|>Sure"


def test_no_generation_prompt_needs_a_header():
    tokenizer = tiny_tokenizer(NO_GENERATION_PROMPT)
    with pytest.raises(ConfigurationError, match=r"set reference\.assistant_header"):
        assistant_header_ids(tokenizer)
    assert text(tokenizer, assistant_header_ids(tokenizer, "<|assistant|>")) == "<|assistant|>"
    assert text(tokenizer, prompt_ids(tokenizer, "x")) == "<|user|>x<|end|>"
    assert text(tokenizer, response_ids(tokenizer, "x", "no")) == "<|assistant|>no<|end|>"


def test_beginning_of_sequence_comes_first_where_the_template_writes_it():
    tokenizer = tiny_tokenizer(WITH_BEGIN)
    tokenizer.bos_token = "<|system|>"
    header = assistant_header_ids(tokenizer)
    assert text(tokenizer, header) == "<|system|><|assistant|>"
    assert text(tokenizer, assistant_header_ids(tokenizer, "<|user|>")) == "<|system|><|user|>"
    # A tokenizer may have one that its template does not use.
    tokenizer.chat_template = CHAT_TEMPLATE
    assert text(tokenizer, assistant_header_ids(tokenizer)) == "<|assistant|>"


def test_a_template_that_rewrites_the_conversation_falls_back_to_the_bare_text():
    tokenizer = tiny_tokenizer(REASONING)
    assert text(tokenizer, prompt_ids(tokenizer, "x")) == "<|user|>x<|end|><|assistant|><think>"
    assert text(tokenizer, response_ids(tokenizer, "x", "hm</think>Sorry.")) == "hm</think>Sorry.<|end|>"
    assert text(tokenizer, assistant_header_ids(tokenizer)) == "<|assistant|><think>"


def test_no_chat_template_is_an_error_that_says_so():
    tokenizer = tiny_tokenizer(None)
    for call in (
        lambda: prompt_ids(tokenizer, "x"),
        lambda: response_ids(tokenizer, "x", "y"),
        lambda: assistant_header_ids(tokenizer, "<|assistant|>"),
    ):
        with pytest.raises(ConfigurationError, match="has no chat template"):
            call()
