"""The parts of the loss that a configuration switches on: the term, the row gate, the anchor, and those of plugins."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pact_plugins import plugins
from pact_plugins.anchor.building import build_anchor
from pact_plugins.batch.sequences import ContextRules
from pact_plugins.contracts import Part, PartContext
from pact_plugins.errors import ConfigurationError
from pact_plugins.row_gate.gate import RowGate
from pact_plugins.row_gate.record import GatedRows
from pact_plugins.training.term import Term
from pact_plugins.training.watched_tokens import WatchedTokens

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig


def build_parts(context: PartContext, watched: WatchedTokens) -> list[Part]:
    """The parts in the order in which their values are summed.

    Raises:
        ConfigurationError: a part cannot be built, or a plugin's builder gives something else.
    """
    config: PACTConfig = context.config
    parts: list[Part] = []
    if config.holds_tokens:
        parts.append(Term(config, context.head, watched))
    if config.gates_rows and watched.criterion is not None:
        record = GatedRows(context.tokenizer, ContextRules.of(context.anatomy))
        parts.append(RowGate(config, threshold=watched.criterion.threshold, head=context.head, gated_rows=record))
    if config.anchor != "off":
        parts.append(build_anchor(context, watched.criterion))
    return [*parts, *(_of_plugin(name, context) for name in config.parts)]


def _of_plugin(name: str, context: PartContext) -> Part:
    part = plugins.parts()[name](replace(context, options=context.config.parts[name]))
    if not isinstance(part, Part):
        raise ConfigurationError(
            f"parts: what {name} builds is a {type(part).__name__}, which is no subclass of "
            "pact_plugins.contracts.Part; repair the plugin"
        )
    return part
