"""Anchors: their file, their prompts, their replies."""

import json

import pytest
import torch

from pact_plugins import PACTConfig
from pact_plugins.anchor.anchors import AnchorSet
from pact_plugins.anchor.prompts import anchor_prompts, evenly_spread
from pact_plugins.anchor.sampling import sampled_anchors
from pact_plugins.anchor.settings import AnchorSettings
from pact_plugins.batch.teacher_forcing import TeacherForced
from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import model_parts_of, prompt_ids
from pact_plugins.prompts import harmful_prompts, harmless_prompts
from pact_plugins.reference.aligned import AlignedModel
from tests.docs.pages import blocks
from tests.helpers.guarded import part_context

ANCHORS = AnchorSet((TeacherForced([5, 6], [7]), TeacherForced([8], [9, 10, 11])), {"harmful": 1, "json": 1})


def rows(*kinds):
    return [{"prompt": f"request {number}", "kind": kind} for number, kind in enumerate(kinds)]


def configured(tmp_path, content, **settings):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(content))
    return AnchorSettings(prompts=str(path), **settings)


def test_a_file_gives_back_what_was_saved_and_a_readable_copy(tmp_path, tokenizer):
    loaded = AnchorSet.load(ANCHORS.save(tmp_path / "anchors.safetensors", tokenizer=tokenizer))
    assert loaded.fingerprint == ANCHORS.fingerprint
    assert loaded.kinds == {"harmful": 1, "json": 1}
    readable = json.loads((tmp_path / "anchors.json").read_text())
    assert [row["kind"] for row in readable] == ["harmful", "json"]
    assert readable[1]["reply"] == tokenizer.decode([9, 10, 11])


@pytest.mark.parametrize("damage", [b"", b"not a file", None])
def test_damaged_files_are_refused(tmp_path, safety_tokens, damage):
    path = tmp_path / "anchors.safetensors"
    if damage is None:
        safety_tokens.save(path)
    else:
        path.write_bytes(damage)
    with pytest.raises(ConfigurationError, match="anchors"):
        AnchorSet.load(path)


def test_bundled_prompts_are_balanced_and_never_those_of_the_evaluation():
    found = anchor_prompts(AnchorSettings())
    harmful, harmless = ([prompt.text for prompt in found[kind]] for kind in ("harmful", "harmless"))
    assert len(harmful) == len(harmless) == 32
    evaluation = {item.prompt for kind in (harmful_prompts, harmless_prompts) for item in kind("evaluation")}
    assert not evaluation & {*harmful, *harmless}
    categories = {item.prompt: item.category for item in harmful_prompts("calibration")}
    assert len({categories[prompt] for prompt in harmful}) == len(set(categories.values()))


def test_the_users_prompts(tmp_path):
    config = configured(tmp_path, rows("harmful", "plain", "lookalike", "json"), replies=8)
    found = {kind: [prompt.text for prompt in prompts] for kind, prompts in anchor_prompts(config).items()}
    assert found == {
        "harmful": ["request 0"] * 3,
        "harmless": ["request 2", "request 1"] * 1 + ["request 2"] * 1,
        "json": ["request 3"] * 2,
    }


def test_a_behaviour_stands_beside_the_bundled_prompts_with_its_system_turn_and_tools(tmp_path):
    messages = [{"role": "system", "content": "You are Robin."}, {"role": "user", "content": "Who are you?"}]
    row = {"messages": messages, "kind": "name", "expect": "Robin", "tools": [{"type": "function"}]}
    found = anchor_prompts(configured(tmp_path, [row], replies=7))
    assert {kind: len(prompts) for kind, prompts in found.items()} == {"harmful": 3, "harmless": 2, "name": 2}
    prompt = found["name"][0]
    assert (prompt.messages, prompt.text) == (tuple(messages), "Who are you?")
    assert prompt.template_arguments == {"tools": [{"type": "function"}]}
    assert prompt.is_met("I am Robin.")
    assert not prompt.is_met("I am a model.")


def test_the_pages_rows_are_prompts_of_four_kinds(tmp_path):
    (example,) = [one.text for one in blocks() if one.page == "docs/forgetting.md" and one.language == "json"]
    (tmp_path / "kept.jsonl").write_text(example)
    found = anchor_prompts(AnchorSettings(prompts=str(tmp_path / "kept.jsonl"), replies=96))
    assert [*found] == ["harmful", "harmless", "persona", "json_form", "tools", "general"]
    assert {len(prompts) for prompts in found.values()} == {16}
    assert found["json_form"][0].is_met('["Nile", "Rhine", "Po"]')
    assert not found["json_form"][0].is_met("Sure: Nile, Rhine, Po.")


def test_more_kinds_than_replies_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="2 are too few for 3 kinds"):
        anchor_prompts(configured(tmp_path, rows("json"), replies=2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (rows("harmful", "harmful"), "no harmless prompt: held to refusals alone"),
        (rows("harmless"), "no harmful prompt: what is held or seen of help alone"),
        (rows("harmful", "Harmless!"), "row 2 .* 'kind'"),
        ([{"kind": "harmful"}], "row 1 .* 'prompt'"),
        (["a string"], "row 1"),
        ([{"messages": [{"role": "assistant", "content": "x"}], "kind": "a"}], "row 1 .* user message"),
        (
            [{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "kind": "a"}],
            "ends",
        ),
        ([{"messages": "x", "kind": "a"}], "row 1 .* 'messages'"),
        ([{"prompt": "x", "kind": "a", "expect": "("}], "row 1 .* no regular expression"),
        ([{"prompt": "x", "kind": "a", "expect": "y"}, {"prompt": "x", "kind": "a"}], "every prompt of the kind 'a'"),
    ],
)
def test_unusable_prompts_are_refused_with_the_reason(tmp_path, content, message):
    with pytest.raises(ConfigurationError, match=message):
        anchor_prompts(configured(tmp_path, content))


def test_evenly_spread():
    assert evenly_spread("abcdef", 3) == ["a", "c", "e"]
    assert evenly_spread("ab", 5) == ["a", "b", "a", "b", "a"]


def test_replies_are_sampled_once(model, tokenizer, monkeypatch):
    aligned = AlignedModel(model_parts_of(model), PACTConfig().reference, resumed=False)
    context = part_context(AnchorSettings(replies=4, max_new_tokens=6), tokenizer, aligned=aligned)
    contexts = {
        "harmful": [prompt_ids(tokenizer, text) for text in ("bad", "worse")],
        "harmless": [prompt_ids(tokenizer, text) for text in ("a garden", "a letter")],
    }
    state = torch.get_rng_state()
    anchors, path = sampled_anchors(model, context, contexts)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(1 <= len(sequence.response_ids) <= 6 for sequence in anchors.sequences)
    assert [list(sequence.context_ids) for sequence in anchors.sequences] == contexts["harmful"] + contexts["harmless"]
    # What has been sampled for somebody else before is taken as it is.
    asked = {"max_new_tokens": 6, "max_tokens": 512, "description": ""}
    monkeypatch.setattr(model, "generate", None)
    every = contexts["harmful"] + contexts["harmless"]
    assert [list(one.response_ids) for one in anchors.sequences] == aligned.replies.to(model, tokenizer, every, **asked)
    again, _ = sampled_anchors(model, context, contexts)
    assert again.fingerprint == anchors.fingerprint
    assert path.exists()
    assert path.with_suffix(".json").exists()
