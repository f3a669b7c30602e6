"""Rows of every format become turns with their own contexts; what cannot is named with a reason."""

from __future__ import annotations

import json

import pytest

from pact_plugins.conversation.reading import UnreadableRowError, read_conversation
from pact_plugins.errors import DataError
from pact_plugins.reference.filling import read_chat_rows

USER, REPLY = {"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}


def contexts(row):
    return [[(m["role"], m["content"]) for m in turn.context] for turn in read_conversation(row).turns]


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"messages": [USER, REPLY]}, "chat"),
        ({"prompt": "hello", "completion": "hi"}, "prompt/completion"),
        ({"prompt": "hello", "response": "hi"}, "prompt/completion"),
        ({"prompt": [USER], "completion": [REPLY]}, "prompt/completion"),
        ({"instruction": "hello", "input": "", "output": "hi"}, "alpaca"),
        ({"conversations": [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "hi"}]}, "sharegpt"),
        # Parquet and datasets fill absent columns and keys with None.
        ({"messages": [{**USER, "tool_calls": None}, REPLY], "prompt": None, "instruction": None}, "chat"),
    ],
)
def test_one_exchange_in_every_format(row, name):
    read = read_conversation(row)
    assert read.format == name
    (turn,) = read.turns
    assert turn.context == (USER,)
    assert turn.response == REPLY
    assert (turn.number, turn.prompt) == (1, "hello")


def test_every_assistant_turn_is_a_response_with_its_own_context():
    row = {"messages": [{"role": "system", "content": "be kind"}, USER, REPLY, {**USER, "content": "more"}, REPLY]}
    first = [("system", "be kind"), ("user", "hello")]
    assert contexts(row) == [first, [*first, ("assistant", "hi"), ("user", "more")]]
    assert [turn.prompt for turn in read_conversation(row).turns] == ["hello", "more"]


def test_alpaca_history_system_and_input():
    row = {"system": "s", "history": [["a", "b"]], "instruction": "c", "input": "d", "output": "e"}
    assert contexts(row) == [
        [("system", "s"), ("user", "a")],
        [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c\nd")],
    ]


def test_the_prompt_of_a_conversational_completion_is_context_only():
    row = {"prompt": [USER, REPLY, USER], "completion": [REPLY]}
    assert contexts(row) == [[("user", "hello"), ("assistant", "hi"), ("user", "hello")]]


def test_sharegpt_roles_and_tools():
    talk = [("human", "h"), ("function_call", "{}"), ("observation", "o"), ("gpt", "g")]
    row = {"conversations": [{"from": a, "value": b} for a, b in talk], "system": "s", "tools": '[{"name": "f"}]'}
    assert [[role for role, _ in context] for context in contexts(row)] == [
        ["system", "user"],
        ["system", "user", "assistant", "tool"],
    ]
    assert read_conversation(row).template_arguments == {"tools": [{"name": "f"}]}


def test_a_greeting_before_the_user_is_counted_but_no_turn():
    read = read_conversation({"messages": [REPLY, USER, REPLY]})
    assert (len(read.turns), read.unprompted, read.turns[0].number) == (1, 1, 2)


def test_text_parts_are_joined_and_tool_calls_kept():
    call = {"role": "assistant", "content": None, "tool_calls": [{"type": "function"}]}
    parts = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    (turn,) = read_conversation({"messages": [parts, call]}).turns
    assert turn.prompt == "ab"
    assert turn.response == {**call, "content": ""}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("text", "a str, not an object"),
        ({}, "columns \\(none\\) fit no format"),
        ({"text": "x", "label": 1}, "columns \\(text, label\\) fit no format: `messages`"),
        ({"messages": "x"}, "`messages` is a str"),
        ({"messages": ["x"]}, "messages\\[0\\] is a str"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages\\[0\\] has the role 'robot'"),
        ({"messages": [{"role": "user"}]}, "messages\\[0\\] has no text"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "part of type 'image'"),
        ({"messages": [USER]}, "no assistant turn$"),
        ({"messages": []}, "no assistant turn$"),
        ({"messages": [REPLY]}, "no assistant turn after a user turn"),
        ({"messages": [{**USER, "content": "  "}, REPLY]}, "empty prompt$"),
        ({"messages": [USER, REPLY, {**USER, "content": ""}, REPLY]}, "empty prompt before turn 2"),
        ({"messages": [USER, REPLY], "tools": "{"}, "`tools` is text, but not JSON"),
        ({"messages": [USER, REPLY], "tools": {"a": 1}}, "`tools` is a dict"),
        ({"instruction": "", "input": "", "output": "x"}, "empty prompt"),
        ({"instruction": "x"}, "`output` is absent"),
        ({"instruction": "x", "output": 1}, "`output` is a int"),
        ({"instruction": "x", "output": "y", "history": [["a"]]}, "history entry 0"),
        ({"prompt": "x", "completion": [REPLY]}, "must both be"),
        ({"prompt": " ", "completion": "x"}, "empty prompt"),
    ],
)
def test_reasons(row, reason):
    with pytest.raises(UnreadableRowError, match=reason):
        read_conversation(row)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": []}, "no assistant turn"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, r"messages\[0\] has the role \['user'\]"),
        ({"messages": [{"role": "user", "content": None}]}, r"messages\[0\] has no text"),
        ({"messages": [{"role": "user", "content": 3}]}, r"messages\[0\] has no text"),
        ({"messages": [{"role": "user", "content": [3]}]}, "holds a part of type 'int'"),
        ({"instruction": "x", "output": "y", "history": 3}, "`history` is a int"),
    ],
)
def test_wrong_values_are_named(row, reason, tmp_path):
    with pytest.raises(UnreadableRowError, match=reason):
        read_conversation(row)
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "x", "completion": "y"}) + "\n" + json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=f"DATA: row 2 of {file}: .*{reason}"):
        read_chat_rows(str(file))
