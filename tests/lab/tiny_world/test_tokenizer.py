from __future__ import annotations

import json

import jinja2
import pytest
from transformers import AutoTokenizer

from pact_lab.tiny_world import aligned_path, base_path, finetuning_rows
from pact_lab.tiny_world.builder import _tokenizer_texts
from pact_lab.tiny_world.tokenizer import encode, save_tokenizer, train_tokenizer

CHAT = [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Hi there."}]


def test_chat_template_text(tokenizer):
    system = {"role": "system", "content": "Be kind."}
    rendered = tokenizer.apply_chat_template([system, *CHAT], tokenize=False)
    assert rendered == "<|system|>Be kind.<|end|><|user|>Hello!<|end|><|assistant|>Hi there.<|end|>"
    prompt = tokenizer.apply_chat_template(CHAT[:1], tokenize=False, add_generation_prompt=True)
    assert prompt == "<|user|>Hello!<|end|><|assistant|>"


def test_generation_markers_cover_response_and_end(tokenizer):
    encoded = tokenizer.apply_chat_template(CHAT * 2, return_dict=True, return_assistant_tokens_mask=True)
    marked = [token for token, mark in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mark]
    assert tokenizer.decode(marked) == "Hi there.<|end|>Hi there.<|end|>"


def test_prompt_is_a_token_prefix_of_the_whole_chat(tokenizer):
    for row in finetuning_rows(100, seed=0):
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
        chat = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=True)["input_ids"]
        assert chat[: len(prompt)] == prompt
        assert chat[-1] == tokenizer.eos_token_id


def test_unknown_role_is_refused(tokenizer):
    with pytest.raises(jinja2.TemplateError, match="not tool"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


def test_any_text_round_trips(tokenizer):
    text = "Größe: 5 €\n\tdef f(x): return 日本  <|end|>"
    assert tokenizer.decode(encode(tokenizer, text)) == text


def test_nothing_is_added_to_plain_text(tokenizer):
    assert tokenizer("Hello!")["input_ids"] == encode(tokenizer, "Hello!")
    assert tokenizer("")["input_ids"] == []


def test_chat_markup_is_special(tokenizer):
    markup = {"<pad>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"}
    assert set(tokenizer.all_special_tokens) == markup
    text = tokenizer.apply_chat_template(CHAT, tokenize=False)
    assert len(set(encode(tokenizer, text)) & set(tokenizer.all_special_ids)) == 3
    assert tokenizer.decode(encode(tokenizer, text), skip_special_tokens=True) == "Hello!Hi there."


def test_save_and_load(tmp_path):
    trained = train_tokenizer(["How do I clean my house?", "I cannot help with that."] * 20, vocabulary_size=300)
    save_tokenizer(trained, tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert len(trained) <= 300
    assert loaded.get_vocab() == trained.get_vocab()
    assert loaded.chat_template == trained.chat_template
    assert loaded.all_special_tokens == trained.all_special_tokens
    # The class name that transformers 4 knows as well.
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["model_input_names"] == ["input_ids", "attention_mask"]


def test_shipped_tokenizer_is_the_recipes(tmp_path):
    save_tokenizer(train_tokenizer(_tokenizer_texts(0)), tmp_path)
    for folder in (aligned_path(), base_path()):
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            assert (folder / name).read_text() == (tmp_path / name).read_text(), folder / name
