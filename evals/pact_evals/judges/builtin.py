"""The judges of this package by name. The factories import what they need when called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pact_plugins.contracts.judge import Judge


def _keyword(**settings: Any) -> Judge:
    from pact_plugins.keyword_judge import KeywordJudge

    return KeywordJudge(**settings)


def _harmbench(**settings: Any) -> Judge:
    from pact_evals.judges.harmbench import HarmBenchJudge

    return HarmBenchJudge(**settings)


def _llama_guard(**settings: Any) -> Judge:
    from pact_evals.judges.llama_guard import LlamaGuardJudge

    return LlamaGuardJudge(**settings)


def _wildguard(**settings: Any) -> Judge:
    from pact_evals.judges.wildguard import WildGuardJudge

    return WildGuardJudge(**settings)


def _strongreject(**settings: Any) -> Judge:
    from pact_evals.judges.strongreject import StrongRejectJudge

    return StrongRejectJudge(**settings)


BUILT_IN: dict[str, Callable[..., Judge]] = {
    "keyword": _keyword,
    "harmbench": _harmbench,
    "llama_guard": _llama_guard,
    "wildguard": _wildguard,
    "strongreject": _strongreject,
}
