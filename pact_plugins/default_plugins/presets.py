"""The presets that ship with the package."""

from __future__ import annotations

from collections.abc import Callable

from pact_plugins.contracts import Preset
from pact_plugins.hookspecs import hookimpl

GATE_AND_ANCHOR = {"row_gate": {"mode": "hard"}, "anchor": {"prompts": "bundled"}}

BUILT_IN_PRESETS = (
    # The paper's own selection of tokens knows no openings.
    Preset(
        "published",
        "the paper's objective and selection of tokens",
        {"term": {"objective": "published"}, "safety_tokens": {"include_openings": False}},
    ),
    Preset("match", "the term alone: confidence on safety tokens is held to the reference's", {"term": {}}),
    # On all rows the term slows down what a short training can teach; what the gate leaves out teaches nothing anyway.
    Preset(
        "pact",
        "row gate, anchor, and a light term on the rows left out",
        {"term": {"weight": 0.2, "rows": "refused"}, **GATE_AND_ANCHOR},
    ),
    Preset("gate_anchor", "row gate and anchor", GATE_AND_ANCHOR),
    Preset("guard", "row gate, anchor, and a light term on all rows", {"term": {"weight": 0.5}, **GATE_AND_ANCHOR}),
    Preset("off", "nothing: the framework's own run"),
)


@hookimpl(tryfirst=True)
def register_presets(register: Callable[[Preset], None]) -> None:
    for preset in BUILT_IN_PRESETS:
        register(preset)
