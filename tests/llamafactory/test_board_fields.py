"""LlamaBoard's fields of PACT, and the block that they become; the page itself is driven in test_llamaboard."""

from __future__ import annotations

import gradio
import pytest

from pact_llamafactory.llamaboard import MORE, OPTIONS, _block, _components
from pact_plugins import plugins

EMPTY = dict.fromkeys((*OPTIONS, MORE), "")


def test_there_is_a_field_for_every_option_and_a_menu_where_there_are_choices() -> None:
    with gradio.Blocks():
        fields = _components(gradio)
    assert set(fields) == {*OPTIONS, MORE}
    menus = {name: [value for _, value in field.choices] for name, field in fields.items() if hasattr(field, "choices")}
    assert menus["preset"] == ["", *plugins.presets()]
    assert menus["row_gate.mode"] == ["", "hard", "soft", "report"]
    assert menus["anchor.prompts"] == ["", "bundled", "gated"]
    assert all(field.value == "" for name, field in fields.items() if name in menus)


@pytest.mark.parametrize(
    ("filled", "block"),
    [
        ({}, {}),
        ({"preset": "gate_anchor"}, {"preset": "gate_anchor"}),
        (
            {
                "row_gate.mode": "soft",
                "anchor.prompts": "gated",
                "term.weight": "1.5",
                MORE: '{"safety_tokens": {"top_k": 20}}',
            },
            {
                "row_gate": {"mode": "soft"},
                "anchor": {"prompts": "gated"},
                "term": {"weight": 1.5},
                "safety_tokens": {"top_k": 20},
            },
        ),
    ],
)
def test_what_is_filled_in_is_the_block_and_what_is_empty_is_the_presets(
    filled: dict[str, str], block: dict[str, object]
) -> None:
    assert _block({**EMPTY, **filled}) == block


def test_a_mistake_names_the_field() -> None:
    with pytest.raises(gradio.Error, match=r"pact\.term\.weight"):
        _block({**EMPTY, "term.weight": "much"})
