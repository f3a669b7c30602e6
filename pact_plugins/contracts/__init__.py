"""What a plugin hands over: one definition of each kind, to be imported from here.

``register_<things>`` hooks (``pact_plugins.hookspecs``) take these, and refuse by name what is not of the kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pact_plugins.contracts.framework import Framework, ShortName
    from pact_plugins.contracts.judge import Judge, JudgeError, JudgeIdentity, JudgeUnavailableError, Verdict
    from pact_plugins.contracts.method import Method, Row, TransformContext
    from pact_plugins.contracts.objective import Objective, ObjectiveInputs, ObjectiveOutput
    from pact_plugins.contracts.part import Contribution, Part, PartBuilder, PartContext, Wants
    from pact_plugins.contracts.reference import (
        AlignedModelSource,
        Capabilities,
        Reference,
        ReferenceBuilder,
        ReferenceContext,
        ReferenceLogits,
        ReferenceRequest,
    )
    from pact_plugins.contracts.token_scorer import TokenScorer

_HOME = {
    "AlignedModelSource": "reference",
    "Wants": "part",
    "PartContext": "part",
    "PartBuilder": "part",
    "Part": "part",
    "Contribution": "part",
    "Capabilities": "reference",
    "Framework": "framework",
    "Judge": "judge",
    "JudgeError": "judge",
    "JudgeIdentity": "judge",
    "JudgeUnavailableError": "judge",
    "Method": "method",
    "Objective": "objective",
    "ObjectiveInputs": "objective",
    "ObjectiveOutput": "objective",
    "Reference": "reference",
    "ReferenceBuilder": "reference",
    "ReferenceContext": "reference",
    "ReferenceLogits": "reference",
    "ReferenceRequest": "reference",
    "Row": "method",
    "ShortName": "framework",
    "TokenScorer": "token_scorer",
    "TransformContext": "method",
    "Verdict": "judge",
}

__all__ = [
    "AlignedModelSource",
    "Capabilities",
    "Contribution",
    "Framework",
    "Judge",
    "JudgeError",
    "JudgeIdentity",
    "JudgeUnavailableError",
    "Method",
    "Objective",
    "ObjectiveInputs",
    "ObjectiveOutput",
    "Part",
    "PartBuilder",
    "PartContext",
    "Reference",
    "ReferenceBuilder",
    "ReferenceContext",
    "ReferenceLogits",
    "ReferenceRequest",
    "Row",
    "ShortName",
    "TokenScorer",
    "TransformContext",
    "Verdict",
    "Wants",
]


def __getattr__(name: str) -> Any:
    # Every command line loads plugins that register a framework, and torch takes seconds.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
