"""What a YAML may surprise with is refused with its line; the rest is read as PyYAML reads it."""

from __future__ import annotations

import re

import pytest
import yaml

from pact_plugins.yaml_text import parse_yaml

BOMB = "a: &a [" + "x," * 100 + "]\n" + "".join(f"{n}: &{n} [" + f"*{p}," * 100 + "]\n" for p, n in ("ab", "bc", "cd"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: {b: [1, 2.5, true, null, off, 012, 0x1f, .inf, 1_000, -3, 1.5e+3, text]}",
        "a: &x {b: 1}\nc: {<<: *x, b: 2}",
    ],
)
def test_as_pyyaml_reads_it(text):
    assert parse_yaml(text) == yaml.safe_load(text)


def test_what_has_a_colon_is_text():
    assert parse_yaml("a: 1:30\nb: 1:30:15.5") == {"a": "1:30", "b": "1:30:15.5"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: a: stands there twice"),
        ("x:\n  y: {a: 1, a: 2}", "line 2: a: stands there twice"),
        ("[" * 20_000, "stand in one another too deeply"),
        ("a: &a [*a]", "line 1: an alias inside what it stands for"),
        (BOMB, "line 3: its aliases stand for too many values"),
        ("a: [1", "line 1: expected ',' or ']'"),
        ("a: !!python/object/apply:os.getcwd []", "line 1: could not determine a constructor"),
        ("a: 1\n---\nb: 2", "line 2: but found another document"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text, reason):
    with pytest.raises(ValueError, match=re.escape(reason)) as raised:
        parse_yaml(text)
    assert "\n" not in str(raised.value)
