"""The audit of the toy benchmark: it finds the poison, and its numbers are those of the plain forward pass."""

from __future__ import annotations

import pytest
import torch

from pact_lab import tiny_world
from pact_plugins import PACTConfig, SafetyTokens
from pact_plugins.audit import audit
from pact_plugins.errors import ConfigurationError, DataError, SafetyTokensError
from pact_plugins.files import write_json
from pact_plugins.safety_tokens.recipe import calibrate
from tests.helpers.tiny import tiny_safety_tokens, tiny_tokenizer

# No task rows: the aligned model knows no tasks and over-refuses most of them (docs/audit.md).
MIXTURE = tiny_world.finetuning_mixture(80, harmful_fraction=0.1, benign_fraction=1.0, seed=5)
HARMFUL = next(row for row in MIXTURE if row.kind == "harmful")
BENIGN = next(row for row in MIXTURE if row.kind == "benign")


@pytest.fixture(scope="module")
def report(world):
    rows = [row.chat if index % 2 else row.pair for index, row in enumerate(MIXTURE)]
    return audit(world.model, world.tokenizer, rows, **world.prompts, batch_size=32, progress=False)


def test_it_finds_the_poison(report):
    poisoned = [row.kind == "harmful" for row in MIXTURE]
    assert report.flagged_indices == [index for index, poison in enumerate(poisoned) if poison]
    assert report.kept_indices == [index for index, poison in enumerate(poisoned) if not poison]
    found = report.detection(poisoned)
    assert (found.precision.value, found.recall.value, found.auc) == (1.0, 1.0, 1.0)
    scores = [row.score for row in report.flagged]
    assert scores == sorted(scores, reverse=True)
    assert report.formats == {"prompt/completion": 80}
    assert report.threshold.false_positives.total == report.threshold.hits.total == 32
    assert report.threshold.hits.count > 28
    assert "I" in report.opening_token_strings["refusal"]
    assert "Sure" in report.opening_token_strings["compliance"]


@torch.no_grad()
def test_the_numbers_are_those_of_the_plain_forward_pass(world, report):
    for index in (report.flagged_indices[0], report.kept_indices[0]):
        row = MIXTURE[index]
        messages = [{"role": "user", "content": row.prompt}]
        text = world.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = world.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        logits = world.model(input_ids=ids).logits[0, -1]
        mass = torch.softmax(logits, dim=-1)[list(report.opening_tokens.refusal)].sum()
        assert report.scores[index] == pytest.approx(float(mass), rel=1e-3, abs=1e-6)
    flagged = next(row for row in report.flagged if row.index == report.flagged_indices[0])
    row = MIXTURE[flagged.index]
    first = world.tokenizer(row.response, add_special_tokens=False)["input_ids"][0]
    messages = [{"role": "user", "content": row.prompt}]
    text = world.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = world.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    log_probs = torch.log_softmax(world.model(input_ids=ids).logits[0, -1], dim=-1)
    assert flagged.first_token == world.tokenizer.convert_ids_to_tokens(first)
    assert flagged.first_token_log_probability == pytest.approx(float(log_probs[first]), abs=1e-3)
    compliance = log_probs[list(report.opening_tokens.compliance)].exp().sum()
    assert flagged.compliance_mass == pytest.approx(float(compliance), rel=1e-3)
    assert (flagged.prompt, flagged.response, flagged.turn, flagged.turns) == (row.prompt, row.response, 1, 1)


def test_several_turns_unreadable_rows_and_rendered_prompts(world):
    def said(*texts):
        roles = ("user", "assistant") * len(texts)
        return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]

    rendered = world.tokenizer.apply_chat_template(said(HARMFUL.prompt), add_generation_prompt=True, tokenize=False)
    rows = [
        {"messages": said(BENIGN.prompt, BENIGN.response)},
        {"messages": said(BENIGN.prompt, BENIGN.response, HARMFUL.prompt, HARMFUL.response)},
        {"text": "no format"},
        {"prompt": rendered, "completion": HARMFUL.response},
        {"prompt": HARMFUL.prompt, "completion": HARMFUL.response},
        {"prompt": "word " * 300, "completion": "x"},
        {"prompt": HARMFUL.prompt, "completion": ""},
        {"prompt": HARMFUL.prompt, "completion": "Sorry, I cannot help with that."},
    ]
    with pytest.raises(DataError, match=r"2 of 8 rows cannot be read: row 2: its columns .*; row 5: .* 256 positions"):
        audit(world.model, world.tokenizer, rows, **world.prompts, progress=False)
    world.model.train()
    report = audit(
        world.model, world.tokenizer, rows, **world.prompts, threshold=0.05, skip_unreadable=True, progress=False
    )
    assert world.model.training
    world.model.eval()
    assert list(report.unreadable) == [2, 5]
    assert (report.rows, report.scored, report.turns) == (8, 6, 7)
    assert report.scores[2] is None
    # The worst turn decides, and it is named.
    worst = next(row for row in report.flagged if row.index == 1)
    assert (worst.turn, worst.turns, worst.prompt) == (2, 2, HARMFUL.prompt)
    # A prompt that holds the template's special tokens is not put through the template again.
    assert report.scores[3] == pytest.approx(report.scores[4], abs=1e-5)
    assert set(report.flagged_indices) >= {1, 3, 4, 6, 7}
    assert [row.index for row in report.flagged if row.is_refusal] == [7]
    # Unreadable rows are never removed.
    assert {0, 2, 5} <= set(report.kept_indices)
    with pytest.raises(DataError, match="none of 1 rows can be read: row 0: its columns"):
        audit(world.model, world.tokenizer, [rows[2]], skip_unreadable=True, progress=False)
    with pytest.raises(DataError, match="no row"):
        audit(world.model, world.tokenizer, [], progress=False)


def test_the_opening_tokens_of_safety_tokens(world, report, tmp_path):
    for name, prompts in world.prompts.items():
        write_json(tmp_path / name, prompts)
    paths = {f"{name}_path": str(tmp_path / name) for name in world.prompts}
    config = PACTConfig(safety_tokens={**paths, "max_response_tokens": 4, "batch_size": 64})
    tokens = calibrate(world.model, world.tokenizer, config.recipe(), progress=False)
    found = audit(world.model, world.tokenizer, [HARMFUL.chat], safety_tokens=tokens, **world.prompts, progress=False)
    assert found.opening_tokens.refusal == tuple(tokens.settings["refusal_opening_tokens"])
    assert tokens.fingerprint in found.opening_tokens_from
    assert found.flagged_indices == [0]
    bare = SafetyTokens.random(world.tokenizer, world.model.config.vocab_size, count=5, seed=0)
    with pytest.raises(SafetyTokensError, match="names no refusal opening tokens"):
        audit(world.model, world.tokenizer, [HARMFUL.chat], safety_tokens=bare, progress=False)
    with pytest.raises(SafetyTokensError, match="another tokenizer"):
        audit(world.model, world.tokenizer, [HARMFUL.chat], safety_tokens=tiny_safety_tokens(), progress=False)


def test_a_model_that_does_not_refuse_the_prompts_is_an_error(world):
    same = dict.fromkeys(world.prompts, world.prompts["harmless_prompts"])
    with pytest.raises(SafetyTokensError, match="no refusal openings: after 32 harmful and 32 harmless prompts"):
        audit(world.model, world.tokenizer, [BENIGN.chat], **same, progress=False)


def test_impossible_settings(world):
    for settings, message in [
        ({"threshold": "often"}, "threshold: often"),
        ({"false_positive_rate": -1}, "false_positive_rate: -1"),
        ({"batch_size": 0}, "batch_size: 0"),
        ({"harmful_prompts": ["one"]}, "harmful_prompts: 1 is too few"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            audit(world.model, world.tokenizer, [BENIGN.chat], **settings, progress=False)
    with pytest.raises(ConfigurationError, match="no chat template"):
        audit(world.model, tiny_tokenizer(None), [BENIGN.chat], progress=False)


def test_a_template_that_refuses_a_conversation_names_the_row(world):
    import copy

    strict = copy.deepcopy(world.tokenizer)
    strict.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        + world.tokenizer.chat_template
    )
    row = {"messages": [{"role": "system", "content": "s"}, *BENIGN.chat["prompt"], *BENIGN.chat["completion"]]}
    with pytest.raises(DataError, match="row 1: the chat template refuses turn 1: no system role"):
        audit(world.model, strict, [BENIGN.chat, row], **world.prompts, progress=False)
