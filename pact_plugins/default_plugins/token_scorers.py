"""The token scorers that ship with the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pact_plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from pact_plugins.contracts import TokenScorer


@hookimpl(tryfirst=True)
def register_token_scorers(register: Callable[[TokenScorer], None]) -> None:
    from pact_plugins.safety_tokens.scorers import BUILT_IN_SCORERS

    for scorer in BUILT_IN_SCORERS:
        register(scorer)
