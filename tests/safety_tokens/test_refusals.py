"""Refusals from a file, from the model, too few of them; prompts from a file."""

from __future__ import annotations

import json

import pytest

from pact_plugins.batch.replies import SampledReplies
from pact_plugins.errors import ConfigurationError, SafetyTokensError
from pact_plugins.modeling import response_ids
from pact_plugins.safety_tokens import refusals as refusals_room
from pact_plugins.safety_tokens.refusals import read_prompts, read_refusals, sample_refusals
from tests.helpers.tiny import REFUSAL_ROWS, tiny_llama


def test_read_refusals(refusals_path, tokenizer):
    refusals = read_refusals(str(refusals_path), tokenizer, limit=512)
    assert [refusal.prompt for refusal in refusals] == [row["prompt"] for row in REFUSAL_ROWS]
    for refusal, row in zip(refusals, REFUSAL_ROWS, strict=True):
        assert list(refusal.response_ids) == response_ids(tokenizer, row["prompt"], row["response"])
        assert refusal.response_ids[-1] == tokenizer.eos_token_id
    assert len(read_refusals(str(refusals_path), tokenizer, limit=3)) == 3


def test_a_json_list_is_read_too_and_empty_responses_are_skipped(tmp_path, tokenizer):
    path = tmp_path / "refusals.json"
    path.write_text(json.dumps([*REFUSAL_ROWS[:2], {"prompt": "x", "response": "  "}]))
    assert len(read_refusals(str(path), tokenizer, limit=512)) == 2


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, ConfigurationError, "refusals_path: no such file"),
        ("{broken", ConfigurationError, "neither a JSON list nor JSON lines"),
        ("", ConfigurationError, "holds no row"),
        ("[]", ConfigurationError, "holds no row"),
        ('{"prompt": "x"}', SafetyTokensError, "row 1 of .* needs the text keys 'prompt' and 'response'"),
        ('{"prompt": "x", "response": "no"}\n["x"]', SafetyTokensError, "row 2"),
        ('{"prompt": "x", "response": 7}', SafetyTokensError, "row 1"),
        ('{"prompt": "x", "response": ""}', SafetyTokensError, "every response in .* is empty"),
    ],
)
def test_bad_refusals(tmp_path, tokenizer, content, error, message):
    path = tmp_path / "refusals.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=message):
        read_refusals(str(path), tokenizer, limit=512)


def test_read_prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('"first"\n\n{"prompt": "second", "category": "x"}\n')
    assert read_prompts(str(path), key="harmful_prompts_path") == ["first", "second"]
    path.write_text('["first", {"prompt": "second"}]')
    assert read_prompts(str(path), key="harmful_prompts_path") == ["first", "second"]


@pytest.mark.parametrize("row", ['{"text": "x"}', "7", '" "'])
def test_bad_prompts(tmp_path, row):
    path = tmp_path / "prompts.jsonl"
    path.write_text(f'"fine"\n{row}\n')
    with pytest.raises(SafetyTokensError, match="harmful_prompts_path: row 2"):
        read_prompts(str(path), key="harmful_prompts_path")


class Judge:
    """Calls every response to an even-numbered prompt a refusal."""

    def label(self, rows):
        return ["refusal" if int(row["prompt"].split()[-1]) % 2 == 0 else "compliance" for row in rows]


@pytest.fixture
def judged(monkeypatch):
    monkeypatch.setattr(refusals_room, "KeywordJudge", Judge)


def sample(tokenizer, count, **settings):
    options = {
        "replies": SampledReplies(),
        "max_new_tokens": 5,
        "max_tokens": 64,
        "limit": 512,
        "progress": False,
        **settings,
    }
    return sample_refusals(tiny_llama(), tokenizer, [f"number {n}" for n in range(count)], **{**options, **settings})


def test_what_the_judge_calls_a_refusal_is_kept_in_order(tokenizer, judged):
    refusals = sample(tokenizer, 20)
    assert [refusal.prompt for refusal in refusals] == [f"number {n}" for n in range(0, 20, 2)]
    assert all(1 <= len(refusal.response_ids) <= 5 for refusal in refusals)
    assert len(sample(tokenizer, 20, limit=9)) == 9
    assert sample(tokenizer, 20) == refusals


def test_too_few_refusals_are_counted_in_the_error(tokenizer, judged):
    assert len(sample(tokenizer, 16)) == 8
    with pytest.raises(SafetyTokensError, match=r"refused only 7 of 14 harmful prompts.*--refusals"):
        sample(tokenizer, 14)
