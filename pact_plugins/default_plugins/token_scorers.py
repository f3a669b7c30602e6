"""The token scorers that ship with the package."""

from __future__ import annotations

from collections.abc import Callable

from pact_plugins.contracts import TokenScorer
from pact_plugins.hookspecs import hookimpl
from pact_plugins.safety_tokens.scoring import BUILT_IN_SCORERS


@hookimpl(tryfirst=True)
def register_token_scorers(register: Callable[[TokenScorer], None]) -> None:
    for scorer in BUILT_IN_SCORERS:
        register(scorer)
