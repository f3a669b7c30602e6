"""Whatever is written as a configuration is one, or an error that names the key."""

from __future__ import annotations

import math
import string
from collections import Counter
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pact_plugins import PACTConfig, plugins
from pact_plugins.errors import ConfigurationError
from pact_plugins.settings import Block
from pact_plugins.visible import visible
from tests.reliability.counts import record
from tests.reliability.test_layouts import examples

FEW, MANY = 150, 5000
BLOCKS = PACTConfig.blocks()
KEYS = [*PACTConfig.model_fields, *plugins.parts()]

words = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["auto", "off", "on", "yes", "no", "null", "", "hard", "soft", "report", "bundled", "gated"]),
    st.sampled_from([*plugins.objectives(), *plugins.references(), *plugins.token_scorers(), *plugins.presets()]),
    st.sampled_from(["\x1b[2J", "\u202egnorw", "\ud800", "../../etc/passwd", "a" * 5000, "1e3", "0x10", "NaN"]),
)
numbers = st.one_of(
    st.integers(-3, 60), st.integers(), st.floats(), st.floats(0, 4),
    st.sampled_from([10**400, 2**63, math.nan, math.inf]),
)  # fmt: skip
scalars = st.one_of(st.none(), st.booleans(), numbers, words, st.dates(), st.datetimes(), st.binary(max_size=8))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(words, scalars), inner, max_size=4)),
    max_leaves=12,
)


def block_of(model: type[Block]) -> st.SearchStrategy[Any]:
    """Mostly known keys, of any value."""
    return st.one_of(st.dictionaries(st.one_of(st.sampled_from(list(model.model_fields)), words), values), values)


fields = {name: block_of(model) for name, model in BLOCKS.items()}


@st.composite
def keys(draw: st.DrawFn) -> Any:
    """Mostly known ones, sometimes with a letter off, sometimes of another type."""
    key = draw(st.sampled_from(KEYS))
    kind = draw(st.integers(0, 19))
    if kind == 0:
        return draw(scalars)
    if kind == 1:
        place = draw(st.integers(0, len(key) - 1))
        return key[:place] + draw(st.sampled_from(string.ascii_lowercase)) + key[place + 1 :]
    return key


@st.composite
def mappings(draw: st.DrawFn) -> dict[Any, Any]:
    chosen = draw(st.lists(keys(), max_size=5))
    return {key: draw(fields.get(key, values) if isinstance(key, str) else values) for key in chosen}


def part(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.fixed_dictionaries({}, optional=keys), st.booleans(), st.just("off"))


def plausible() -> st.SearchStrategy[dict[str, Any]]:
    """Values of the right kind, so that many are accepted."""
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "preset": st.sampled_from(sorted(plugins.presets())),
        "term": part(
            objective=st.sampled_from(sorted(plugins.objectives())),
            weight=st.one_of(st.none(), st.floats(0, 10)),
            temperature=st.floats(0.1, 10),
            mixture=st.fixed_dictionaries({}, optional={"top_p": st.floats(0, 1.2), "boost": st.integers(0, 1)}),
            options=st.dictionaries(words, values, max_size=2),
        ),
        "reference": part(
            kind=st.sampled_from(["auto", *plugins.references()]), cache_path=st.one_of(st.none(), words)
        ),
        "row_gate": part(mode=st.sampled_from(["hard", "soft", "report"]), threshold=st.floats(0, 1)),
        "anchor": part(prompts=st.sampled_from(["off", "bundled"]), replies=st.integers(0, 9)),
        "safety_tokens": part(top_k=st.integers(0, 60), include_openings=st.booleans()),
    }
    return st.fixed_dictionaries({}, optional=kinds)


def check(mapping: Any) -> str:
    """What comes of it."""
    try:
        config = PACTConfig.from_mapping(mapping)
    except ConfigurationError as error:
        return "refused" if names_the_key(str(error), mapping) else str(error)
    for name, block in mapping.items() if isinstance(mapping, dict) else ():
        written = block.items() if isinstance(block, dict) else ()
        assert not any(is_number(name, key) and isinstance(value, bool) for key, value in written), "true is no number"
    # What was read means the same when it is read again, and every number is one.
    again = PACTConfig.from_mapping(config.model_dump())
    assert str(again) == str(config)
    numbers_read = [value for block in config.parts.values() for value in block.model_dump().values()]
    assert all(math.isfinite(value) for value in numbers_read if isinstance(value, float))
    return "valid"


def names_the_key(message: str, mapping: Any) -> bool:
    for line in message.split("\n"):
        assert line.startswith("pact"), line
        assert line == visible(line)
        assert len(line) < 8000
    return not isinstance(mapping, dict) or any(f"{key}"[:40] in message for key in KEYS)


def is_number(block: Any, key: Any) -> bool:
    field = BLOCKS[block].model_fields.get(str(key)) if block in BLOCKS else None
    return field is not None and field.annotation in (int, float, float | None)


def through_yaml(mapping: Any) -> Any:
    """As a file would give it; as it is where YAML cannot write it."""
    try:
        return yaml.safe_load(yaml.safe_dump(mapping))
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, UnicodeError):
        return mapping


def search(count: int) -> Counter[str]:
    seen: Counter[str] = Counter()

    @examples(count)
    @given(st.one_of(mappings(), mappings(), plausible(), values), st.booleans())
    def run(mapping: Any, as_file: bool) -> None:
        seen["tried"] += 1
        came_of_it = check(through_yaml(mapping) if as_file else mapping)
        assert came_of_it in ("refused", "valid")
        seen[came_of_it] += 1

    run()
    return seen


def test_a_few_configurations():
    seen = search(FEW)
    assert seen["valid"] > 10
    assert seen["refused"] > 10


@pytest.mark.reliability
def test_many_configurations():
    seen = search(MANY)
    assert seen["tried"] >= MANY
    record("configurations", **seen)


@pytest.mark.parametrize("key", ["prefix_tokens", "boost", "alpha"])
def test_yes_is_no_number_in_the_gate_either(key):
    with pytest.raises(ConfigurationError, match=rf"pact\.term\.mixture: {key}: expected a number, found True"):
        PACTConfig.from_mapping({"term": {"mixture": {key: True}}})


def test_what_holds_itself_is_refused():
    endless: dict[str, Any] = {}
    endless["objective_options"] = endless
    with pytest.raises(ConfigurationError, match="objective_options"):
        PACTConfig.from_mapping(endless)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for hostile in (deep, -(10**5000), endless):
        with pytest.raises(ConfigurationError, match="top_k"):
            PACTConfig.from_mapping({"safety_tokens": {"top_k": hostile}})
