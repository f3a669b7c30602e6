"""What counts as an answer."""

from __future__ import annotations

import pytest

from pact_plugins.answers import ends_mid_sentence, is_empty, strip_reasoning


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ("<think>plan</think>No.", "No."),
        ("<think>a</think>b<think>c</think>d", "bd"),
        ("plan without an opening tag</think>\n\nNo.", "No."),
        ("<think>a trace that never ends", ""),
        ("[THINK]plan[/THINK]Yes.", "Yes."),
        ("<reasoning>plan</reasoning>Yes.", "Yes."),
        ("<|channel|>analysis<|message|>plan<|end|><|start|>assistant<|channel|>final<|message|>Yes.", "Yes."),
        ("<|channel|>analysis<|message|>a plan that never ends", ""),
        ("Yes.<|im_end|>", "Yes."),
        ("I think <this> is fine.", "I think <this> is fine."),
    ],
)
def test_reasoning_is_removed(raw, answer):
    assert strip_reasoning(raw) == answer


@pytest.mark.parametrize("text", ["", " \n", "...", "!!!!!", "12 34", "no " * 20, "start " + "go on " * 30, "a" * 200])
def test_nothing_and_noise_are_empty(text):
    assert is_empty(text)


@pytest.mark.parametrize(
    "text", ["No.", "不行。", "It is a very, very, very good idea.", "la la la, she sang, and left"]
)
def test_short_and_lively_answers_are_not(text):
    assert not is_empty(text)


def test_a_cut_sentence_is_seen():
    assert ends_mid_sentence("First, you take the")
    assert not ends_mid_sentence("First, you take the bus.")
    assert not ends_mid_sentence("いいえ。")
    assert not ends_mid_sentence("")
