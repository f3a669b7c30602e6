"""The assistant's turns in conversations of every style, against what a reader marks in the text."""

from __future__ import annotations

from functools import cache

import numpy
import pytest
import torch

from pact_plugins.batch.responses import response_labels
from pact_plugins.conversation import learn_turns
from tests.helpers.templates import FAMILIES, family_tokenizer

USER, OTHER = {"role": "user", "content": "Hello, who is it?"}, {"role": "user", "content": "And a letter."}
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"place": "garden"}}}


def answer(content, **more):
    return {"role": "assistant", "content": content, **more}


# What the assistant is to have written: the first words, from which on it counts, and how often each is looked for.
CONVERSATIONS = {
    "one turn": ([USER, answer("Well, hello.")], ["Well, hello."]),
    "a digit first": ([USER, answer("3 May.")], ["3 May."]),
    "a line break last": ([USER, answer("Sure, here:\n")], ["Sure, here:\n"]),
    "two turns": ([USER, answer("Well."), OTHER, answer("I cannot help.")], ["Well.", "I cannot help."]),
    "the same twice": ([USER, answer("It is!"), USER, answer("It is!")], ["It is!", "It is!"]),
    "system": ([SYSTEM, USER, answer("Well, hello.")], ["Well, hello."]),
    "names the roles": ([USER, answer("assistant\nuser model")], ["assistant\nuser model"]),
}
CLOSING = {"chatml": "<|im_end|>", "chatml marked": "<|im_end|>", "llama3": "<|eot|>", "qwen3": "<|im_end|>"}
CLOSING |= {"gemma": "</turn>", "mistral": "</s>", "plain": "</s>"}


@cache
def learnt(family):
    return learn_turns(family_tokenizer(family))


def by_hand(tokenizer, text, spans):
    """Tokens of ``text``, and which of them hold a character of ``spans``."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    held = [any(begin < end_ and end > begin_ for begin_, end_ in spans) for begin, end in encoded["offset_mapping"]]
    return encoded["input_ids"], held


def spans_of(text, answers, closing):
    """Where each answer and its closing mark stand, the last ones of the text; answers stand in order."""
    spans, reached = [], len(text)
    for words in reversed(answers):
        begin = text.rindex(words + closing, 0, reached)
        spans.append((begin, begin + len(words + closing)))
        reached = begin
    return spans


def found(family, ids, labels=None, **inputs):
    """Which tokens of one row are labels of a response, where ``labels`` (all, by default) are trained on."""
    input_ids = torch.tensor([ids])
    labelled = input_ids if labels is None else torch.tensor([labels])
    tensors = {name: torch.tensor([values]) for name, values in inputs.items()}
    kept = response_labels(labelled, {"input_ids": input_ids, **tensors}, learnt(family))
    return (kept[0] != -100).tolist()


def fitting(family, words):
    """A template that trims what it is given leaves no line break at the end."""
    return [word.strip() for word in words] if family in ("llama3", "gemma") else words


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_rendered_conversation_of_which_all_is_learnt(family, name):
    messages, words = CONVERSATIONS[name]
    if name == "system" and not FAMILIES[family].system:
        pytest.skip("the template has no system turn")
    tokenizer = family_tokenizer(family)
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    spans = spans_of(text, fitting(family, words), CLOSING[family])
    ids, expected = by_hand(tokenizer, text, spans)
    assert found(family, ids) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_of_the_answers_alone_are_left_as_they_are(family):
    tokenizer = family_tokenizer(family)
    messages = [USER, answer("Well."), OTHER, answer("I cannot help.")]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    ids, held = by_hand(tokenizer, text, spans_of(text, ["Well.", "I cannot help."], CLOSING[family]))
    labels = torch.tensor([[token if one else -100 for token, one in zip(ids, held, strict=True)]])
    turns, inputs = learnt(family), {"input_ids": torch.tensor([ids])}
    assert response_labels(labels, inputs, turns) is labels
    # The end of the text behind the last answer belongs to nobody: a trainer may learn it.
    labels[0, held.index(True) :][-1] = ids[-1]
    assert response_labels(labels, inputs, turns) is labels
    # Cut off at the left, in the middle of an answer.
    middle = held.index(True) + 1
    cut = labels[:, middle:].clone()
    assert response_labels(cut, {"input_ids": torch.tensor([ids[middle:]])}, turns) is cut
    # Of a prompt, one token is learnt: all of it is a conversation of which more is learnt than its answers.
    labels[0, held.index(True) - 1] = ids[held.index(True) - 1]
    kept = response_labels(labels, inputs, turns)
    assert kept is not labels
    assert (kept[0] != -100).tolist() == held


@pytest.mark.parametrize("family", FAMILIES)
def test_learnt_turns_of_the_user_are_no_responses(family):
    """As ``roles_to_train`` has it: what either says is labelled, and what the template writes is not."""
    tokenizer = family_tokenizer(family)
    text = tokenizer.apply_chat_template([USER, answer("Well."), OTHER, answer("I cannot help.")], tokenize=False)
    ids, held = by_hand(tokenizer, text, spans_of(text, ["Well.", "I cannot help."], CLOSING[family]))
    asked = [turn["content"] for turn in (USER, OTHER)]
    _, of_user = by_hand(tokenizer, text, [(text.index(words), text.index(words) + len(words)) for words in asked])
    labels = [token if one or other else -100 for token, one, other in zip(ids, held, of_user, strict=True)]
    assert found(family, ids, labels) == held


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("by", ["position_ids", "attention_mask"])
def test_packed_sequences_are_told_apart(family, by):
    tokenizer = family_tokenizer(family)
    rows = [([USER, answer("Well.")], ["Well."], 1), ([OTHER, answer("It is!")], ["It is!"], 0), ([USER], [], 0)]
    rows.append(([USER, answer("I cannot help.")], ["I cannot help."], 0))
    ids, expected, positions, numbers = [], [], [], []
    for number, (messages, words, cut) in enumerate(rows, start=1):
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        own, held = by_hand(tokenizer, text, spans_of(text, words, CLOSING[family]))
        # The first sequence is cut off before the end of its answer.
        length = held.index(True) + 1 if cut else len(own)
        ids += own[:length]
        expected += held[:length]
        positions += range(length)
        numbers += [number] * length
    inputs = {"position_ids": positions} if by == "position_ids" else {"attention_mask": numbers}
    assert found(family, ids, **inputs) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_without_a_border(family):
    """Where nothing tells sequences apart, an answer that was cut off ends where somebody else begins to speak."""
    tokenizer = family_tokenizer(family)
    texts = [tokenizer.apply_chat_template([USER, answer(words)], tokenize=False) for words in ("Well.", "It is!")]
    (first, held), (second, other) = (
        by_hand(tokenizer, text, spans_of(text, [words], CLOSING[family]))
        for text, words in zip(texts, ("Well.", "It is!"), strict=True)
    )
    cut = held.index(True) + 1
    assert found(family, first[:cut] + second) == held[:cut] + other


def test_thoughts_are_the_assistants_and_an_empty_block_is_the_templates():
    family = "qwen3"
    tokenizer = family_tokenizer(family)
    thinking = [USER, answer("<think>\nIs it so?\n</think>\n\nWell."), OTHER, answer("So.", reasoning_content="It is!")]
    text = tokenizer.apply_chat_template(thinking, tokenize=False)
    # The template drops the thoughts of the earlier turn.
    spans = spans_of(text, ["Well.", "<think>\nIt is!\n</think>\n\nSo."], "<|im_end|>")
    ids, expected = by_hand(tokenizer, text, spans)
    assert found(family, ids) == expected
    text = tokenizer.apply_chat_template([USER, answer("Well.")], tokenize=False)
    assert "<think>\n\n</think>\n\nWell." in text
    ids, expected = by_hand(tokenizer, text, spans_of(text, ["Well."], "<|im_end|>"))
    assert found(family, ids) == expected


@pytest.mark.parametrize(
    ("family", "called"),
    [
        ("qwen3", "<tool_call>\n{%s}\n</tool_call><|im_end|>"),
        ("llama3", "{%s}<|eot|>"),
        ("mistral", "[TOOL_CALLS] [{%s}]</s>"),
    ],
)
def test_tool_calls_are_the_assistants_and_their_results_are_not(family, called):
    tokenizer = family_tokenizer(family)
    result = {"role": "tool", "content": "It is so."}
    text = tokenizer.apply_chat_template([USER, answer("", tool_calls=[CALL]), result, answer("Well.")], tokenize=False)
    begin = text.index(called.split("%s")[0] if family != "llama3" else '{"name"')
    end = text.index(called.split("%s")[1], begin) + len(called.split("%s")[1])
    spans = [(begin, end), *spans_of(text, ["Well."], CLOSING[family])]
    ids, expected = by_hand(tokenizer, text, spans)
    assert found(family, ids) == expected


def test_text_that_is_no_conversation_is_left_as_it_is():
    tokenizer = family_tokenizer("chatml")
    ids = tokenizer("The film was slow. The music was wonderful.")["input_ids"]
    labels = torch.tensor([ids])
    assert response_labels(labels, {"input_ids": labels}, learn_turns(tokenizer)) is labels
    assert response_labels(labels, {"input_ids": labels}, None) is labels
    assert response_labels(labels, {}, learn_turns(tokenizer)) is labels


def test_without_a_template_nothing_is_learnt():
    tokenizer = family_tokenizer("chatml")
    tokenizer.chat_template = None
    assert learn_turns(tokenizer) is None
    # Nothing tells an answer from a question here.
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert learn_turns(tokenizer) is None


def test_learning_draws_no_random_number_and_leaves_the_tokenizer_as_it_was():
    tokenizer = family_tokenizer("llama3")
    before, state = tokenizer.chat_template, torch.get_rng_state()
    learn_turns(tokenizer)
    assert tokenizer.chat_template == before
    assert torch.equal(torch.get_rng_state(), state)


def test_many_rows_at_once_agree_with_one_at_a_time():
    family = "qwen3"
    tokenizer = family_tokenizer(family)
    texts = [tokenizer.apply_chat_template(messages, tokenize=False) for messages, _ in CONVERSATIONS.values()]
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    width = max(map(len, rows))
    for side in ("right", "left"):
        ids, mask = numpy.zeros((2, len(rows), width), dtype=numpy.int64)
        for number, row in enumerate(rows):
            place = slice(None, len(row)) if side == "right" else slice(width - len(row), None)
            ids[number, place], mask[number, place] = row, 1
        labels = torch.from_numpy(numpy.where(mask, ids, -100))
        inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        kept = response_labels(labels, inputs, learnt(family))
        for number, row in enumerate(rows):
            assert (kept[number][mask[number].astype(bool)] != -100).tolist() == found(family, row)
