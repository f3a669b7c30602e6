"""``PACTConfig``: blocks, bounds, errors that name the key."""

from __future__ import annotations

import re

import pytest
import yaml
from pydantic import ValidationError

from pact_plugins import PACTConfig, plugins
from pact_plugins.contracts import MixtureSettings
from pact_plugins.errors import ConfigurationError
from pact_plugins.moved_keys import MOVED
from pact_plugins.settings import merged

SWITCHED = ("term", "row_gate", "anchor", "drift_watch")
# A value of each key that is not its default.
OTHER = {
    "term.rows": "answered",
    "preset": "guard",
    "receipts": "present",
    "term.objective": "full_kl",
    "term.weight": 3.0,
    "term.temperature": 1.5,
    "term.log_gradients": True,
    "row_gate.mode": "soft",
    "row_gate.threshold": 0.75,
    "anchor.prompts": "gated",
    "anchor.replies": 32,
    "anchor.weight": 2.0,
    "anchor.share": 0.5,
    "anchor.every": 4,
    "anchor.max_new_tokens": 32,
    "safety_tokens.file": "tokens.safetensors",
    "safety_tokens.top_k": 20,
    "safety_tokens.scorer": "pref_logratio",
    "safety_tokens.include_openings": False,
    "safety_tokens.exclude_special_tokens": False,
    "safety_tokens.base_model_path": "base",
    "safety_tokens.refusals_path": "refusals.jsonl",
    "safety_tokens.harmful_prompts_path": "harmful.jsonl",
    "safety_tokens.harmless_prompts_path": "harmless.jsonl",
    "safety_tokens.max_refusals": 64,
    "safety_tokens.max_response_tokens": 32,
    "safety_tokens.batch_size": 8,
    "reference.kind": "cache",
    "reference.path": "aligned",
    "reference.check_every": 10,
    "reference.cache_path": "cache",
    "reference.assistant_header": "Assistant:",
    "drift_watch.every": 10,
    "drift_watch.prompts": 8,
    "drift_watch.prompts_path": "watched.jsonl",
    "drift_watch.greedy": True,
    "drift_watch.stop_if_drift": 0.2,
    "drift_watch.keep_best": True,
}
# They have no effect on the default objective.
OF_OTHER_OBJECTIVES = {
    "term.mixture": ("published", {"alpha": 3.0}),
    "term.options": ("logit_matching", {"scale": 2.0}),
}


def keys() -> list[str]:
    """Every key of every block."""
    blocks = PACTConfig.blocks()
    plain = [name for name in PACTConfig.model_fields if name not in blocks]
    return plain + [f"{block}.{key}" for block, model in blocks.items() for key in model.model_fields]


def nested(key: str, value: object) -> dict[str, object]:
    block, _, name = key.rpartition(".")
    return {block: {name: value}} if block else {name: value}


def flat(settings: dict[str, object]) -> dict[str, object]:
    """Keys of blocks as ``block.key``; a block that is off by its own name."""
    found: dict[str, object] = {}
    for name, block in settings.items():
        found |= {f"{name}.{key}": value for key, value in block.items()} if isinstance(block, dict) else {name: block}
    return found


def differences(one: PACTConfig, other: PACTConfig) -> set[str]:
    first, second = flat(one.model_dump()), flat(other.model_dump())
    return {key for key in first.keys() | second.keys() if first.get(key) != second.get(key)}


@pytest.mark.parametrize("key", keys())
def test_writing_a_key_changes_that_key_and_nothing_else(key):
    """Beside no preset; a part that the default preset has not is switched on, and has its defaults elsewhere."""
    block = key.rpartition(".")[0]
    on = {block: True} if block in SWITCHED else {}
    if key in OF_OTHER_OBJECTIVES:
        objective, value = OF_OTHER_OBJECTIVES[key]
        on = {"term": {"objective": objective}}
    else:
        value = OTHER[key]
    changed = PACTConfig(**merged({}, on if key in OF_OTHER_OBJECTIVES else {}, nested(key, value)))
    expected = {"preset", "term"} | set(keys()) if key == "preset" else {key}
    found = differences(changed, PACTConfig(**on))
    # The weight that nobody wrote is the objective's own.
    assert found <= expected | ({"term.weight"} if key == "term.objective" else set())
    assert key in found
    assert changed.preset == ("guard" if key == "preset" else "pact")
    parts = {part for part, settings in changed.parts.items() if settings}
    assert parts == {"term", "row_gate", "anchor"}


@pytest.mark.parametrize("block", SWITCHED)
@pytest.mark.parametrize("word", [False, "off"])
def test_a_block_is_switched_off(block, word):
    config = PACTConfig(**{"preset": "guard", block: word})
    assert getattr(config, block) is False
    assert config.parts.keys() == {"term", "row_gate", "anchor"} - {block}
    assert config.model_dump(mode="json")[block] is False


@pytest.mark.parametrize("block", SWITCHED)
def test_true_takes_the_defaults_of_a_block(block):
    config = PACTConfig(**{"preset": "off", block: True})
    assert getattr(config, block) == PACTConfig.blocks().get(block, type(config.drift_watch))()
    assert not config.is_off
    assert PACTConfig(**{"preset": "off", block: {}}) == config
    assert PACTConfig(**{"preset": "off", block: PACTConfig.blocks()[block]()}) == config


def test_off_is_a_word_of_yaml_too():
    assert PACTConfig.from_mapping(yaml.safe_load("preset: off")).is_off
    assert PACTConfig.from_mapping(yaml.safe_load("preset: guard\nanchor: off")).anchor is False


def test_the_weight_is_the_objectives_own_where_nobody_writes_it():
    for name, objective in plugins.objectives().items():
        assert PACTConfig(preset="match", term={"objective": name}).term.weight == objective.default_weight
        assert (
            PACTConfig(preset="match", term={"objective": name, "weight": None}).term.weight == objective.default_weight
        )
        assert PACTConfig(preset="match", term={"objective": name, "weight": 0.25}).term.weight == 0.25


@pytest.mark.parametrize("mapping", [None, True, {}])
def test_nothing_means_all_defaults(mapping):
    assert PACTConfig.from_mapping(mapping) == PACTConfig()


@pytest.mark.parametrize("preset", plugins.presets())
def test_a_resolved_configuration_reads_back_as_itself(preset):
    config = PACTConfig(preset=preset, drift_watch=True)
    assert PACTConfig.from_mapping(config.model_dump()) == config
    assert PACTConfig.from_mapping(config.model_dump(mode="json")) == config


def test_what_a_preset_has_set_is_not_written():
    assert PACTConfig(preset="guard", anchor={"replies": 4}).model_fields_set == {"preset", "anchor"}


@pytest.mark.parametrize(("old", "place"), MOVED.items())
def test_a_key_of_old_is_told_its_new_place(old, place):
    with pytest.raises(ConfigurationError, match=rf"pact\.{old}: is now {re.escape(place)} \(found 1\)"):
        PACTConfig.from_mapping({old: 1})


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"reference": "cache"}, r"pact\.reference: is now reference\.kind \(found 'cache'\)"),
        ({"anchor": "bundled"}, r"pact\.anchor: is now anchor\.prompts"),
        ({"safety_tokens": "auto"}, r"pact\.safety_tokens: is now safety_tokens\.file"),
        ({"trem": {}}, r"pact\.trem: unknown key; did you mean 'term'\?"),
        ({"term": {"wieght": 1}}, r"pact\.term\.wieght: unknown key; did you mean 'weight'\?"),
        ({"zzz": 1}, r"pact\.zzz: unknown key; known keys: preset, term, row_gate, anchor,"),
        ({"term": {"mixture": {"top": 0.9}}}, r"pact\.term\.mixture\.top: unknown key; did you mean 'top_p'\?"),
        ({"term": {"mixture": {"top_p": 2}}}, r"pact\.term\.mixture\.top_p: .*less than or equal to 1 \(found 2\)"),
        ({"term": {"weight": -1}}, r"pact\.term\.weight: .*greater than 0 \(found -1\)"),
        ({"term": {"weight": 0}}, r"pact\.term\.weight: .*greater than 0; term: off switches it off \(found 0\)"),
        ({"term": {"weight": float("nan")}}, r"pact\.term\.weight: "),
        ({"term": {"weight": float("inf")}}, r"pact\.term\.weight: "),
        ({"term": {"weight": "much"}}, r"pact\.term\.weight: .*\(found 'much'\)"),
        ({"term": {"weight": [1]}}, r"pact\.term\.weight: must be a number"),
        ({"term": {"temperature": 0}}, r"pact\.term\.temperature: .*greater than 0"),
        ({"safety_tokens": {"top_k": 1}}, r"pact\.safety_tokens\.top_k: "),
        ({"safety_tokens": {"top_k": 2.5}}, r"pact\.safety_tokens\.top_k: "),
        ({"safety_tokens": {"batch_size": 0}}, r"pact\.safety_tokens\.batch_size: "),
        ({"safety_tokens": {"file": ""}}, r"pact\.safety_tokens\.file: "),
        ({"safety_tokens": {"include_openings": "maybe"}}, r"pact\.safety_tokens\.include_openings: must be true or"),
        ({"safety_tokens": {"scorer": "x"}}, r"scorer: unknown scorer 'x'; available: p_diff, pref_logratio"),
        ({"safety_tokens": False}, r"pact\.safety_tokens: must be a block of keys \(file, top_k"),
        ({"term": {"objective": "macth"}}, r"term\.objective: unknown objective 'macth'; available: match, published"),
        ({"term": {"objective": ["match"]}}, r"pact\.term\.objective: "),
        ({"reference": {"kind": "x"}}, r"kind: unknown reference 'x'; available: auto, adapter_off, frozen_copy"),
        ({"reference": {"kind": 3}}, r"pact\.reference\.kind: must be text"),
        ({"receipts": "none"}, r"pact\.receipts: "),
        ({"row_gate": {"threshold": 0}}, r"pact\.row_gate\.threshold: .*greater than 0"),
        ({"row_gate": {"mode": True}}, r"pact\.row_gate\.mode: must be 'hard', 'soft' or 'report' \(found True\)"),
        ({"anchor": {"replies": 1}}, r"pact\.anchor\.replies: "),
        ({"anchor": 2}, r"pact\.anchor: must be a block of keys \(prompts, replies, .*\) \(found 2\)"),
        ({"drift_watch": 2}, r"pact\.drift_watch: must be a block of keys \(every, prompts, .*\) \(found 2\)"),
        ({"drift_watch": {"every": "often"}}, r"pact\.drift_watch\.every: must be a whole number \(found 'often'\)"),
        ({"preset": "gaurd"}, r"pact\.preset: unknown preset 'gaurd'; available: published, match, pact, gate_anchor"),
        ({"preset": 3}, r"pact\.preset: must be text"),
        ([1], r"pact: expected a mapping of settings, found \[1\]"),
        ("match", r"pact: expected a mapping of settings, found 'match'"),
    ],
)
def test_wrong_settings_are_named(mapping, message):
    with pytest.raises(ConfigurationError, match=message) as error:
        PACTConfig.from_mapping(mapping)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"term": {"mixture": {"alpha": 3}}}, "mixture has no effect on objective: match"),
        ({"term": {"options": {"scale": 3}}}, "options has no effect on objective: match"),
        ({"safety_tokens": {"file": "x", "top_k": 3}}, "top_k has no effect on safety tokens that are read"),
        ({"safety_tokens": {"refusals_path": "x", "harmful_prompts_path": "y"}}, "harmful_prompts_path has no effect"),
        ({"reference": {"kind": "adapter_off", "path": "m"}}, "path has no effect"),
        ({"term": False, "row_gate": False, "anchor": False}, "nothing of preset: pact is left; .* write preset: off"),
    ],
)
def test_what_has_no_effect_is_an_error(mapping, message):
    with pytest.raises(ConfigurationError, match=message):
        PACTConfig.from_mapping(mapping)


def test_every_wrong_key_is_named_at_once():
    wrong = {"kl_coef": 1, "trem": {}, "term": {"weight": "much"}, "safety_tokens": {"top_k": 0}}
    with pytest.raises(ConfigurationError) as error:
        PACTConfig.from_mapping(wrong, source="train.yaml: pact")
    lines = str(error.value).splitlines()
    assert len(lines) == 4
    for key in ("kl_coef", "trem", "term.weight", "safety_tokens.top_k"):
        assert any(line.startswith(f"train.yaml: pact.{key}:") for line in lines)


@pytest.mark.parametrize("name", [*PACTConfig.model_fields, *plugins.parts()])
@pytest.mark.parametrize("value", [object(), [[1]], 2.5, None, {"": 1}])
def test_no_error_speaks_of_python_types_or_classes(name, value):
    said = ""
    try:
        PACTConfig.from_mapping({name: value})
    except ConfigurationError as error:
        said = str(error).split("(found")[0]
    assert not re.search(r"dict|valid|instance|Config|Settings|integer|boolean|NoneType", said)


def test_direct_construction_raises_a_value_error_that_names_the_key():
    with pytest.raises(ValidationError, match="wieght"):
        PACTConfig(term={"wieght": 1})
    assert issubclass(ValidationError, ValueError)


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(ValidationError):
        PACTConfig().receipts = "present"
    with pytest.raises(ValidationError):
        PACTConfig().anchor.replies = 3


@pytest.mark.parametrize("key", keys())
def test_every_key_is_described(key):
    block, _, name = key.rpartition(".")
    assert (PACTConfig.blocks()[block] if block else PACTConfig).model_fields[name].description


@pytest.mark.parametrize("name", MixtureSettings.model_fields)
def test_every_key_of_the_mixture_is_described(name):
    assert MixtureSettings.model_fields[name].description


@pytest.mark.parametrize("key", ["term.weight", "anchor.replies", "row_gate.threshold", "drift_watch.every"])
@pytest.mark.parametrize("value", [True, False])
def test_a_yes_of_yaml_is_no_number(key, value):
    name = key.rpartition(".")[2]
    with pytest.raises(ConfigurationError, match=rf"{name}: expected a number, found {value}"):
        PACTConfig.from_mapping(nested(key, value))
