"""What a plugin hands over: one definition of each kind, to be imported from here.

``register_<things>`` hooks (``pact_plugins.hookspecs``) take these, and refuse by name what is not of the kind.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pact_plugins.contracts.framework import *
    from pact_plugins.contracts.judge import *
    from pact_plugins.contracts.method import *
    from pact_plugins.contracts.objective import *
    from pact_plugins.contracts.part import *
    from pact_plugins.contracts.part_spec import *
    from pact_plugins.contracts.preset import *
    from pact_plugins.contracts.reference import *
    from pact_plugins.contracts.safety_tokens import *
    from pact_plugins.contracts.token_scorer import *

# In the order in which a name is looked for: those that import no torch come first, as every command line loads plugins
# that register a framework, and torch takes seconds.
_HOMES = (
    "framework",
    "judge",
    "method",
    "preset",
    "part_spec",
    "objective",
    "token_scorer",
    "safety_tokens",
    "reference",
    "part",
)


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for home in _HOMES:
        module = importlib.import_module(f"{__name__}.{home}")
        if name in module.__all__:
            return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
