"""What others do, as objectives: to be compared with, not recommended.

The framework adds its own cross-entropy, so an objective that replaces it is written as the desired loss minus the
cross-entropy. ``term.weight`` then interpolates: near 0 is plain fine-tuning, 1 (the default) is the method.
"""

from __future__ import annotations

from importlib import import_module

from pact_plugins.contracts import Objective, ObjectiveInputs, ObjectiveOutput


def _baseline(name: str, *, full_vocabulary: bool = False) -> Objective:
    def compute(inputs: ObjectiveInputs) -> ObjectiveOutput:
        # Every ``pact`` command registers it; torch is imported by those that use it.
        found: ObjectiveOutput = getattr(import_module(f"{__name__}.{name}"), name)(inputs)
        return found

    return Objective(name, compute, full_vocabulary=full_vocabulary)


ASFT = _baseline("asft", full_vocabulary=True)
CONSTRAINED_SFT = _baseline("constrained_sft", full_vocabulary=True)
LOGIT_MATCHING = _baseline("logit_matching")
BASELINE_OBJECTIVES = (ASFT, CONSTRAINED_SFT, LOGIT_MATCHING)

__all__ = ["ASFT", "BASELINE_OBJECTIVES", "CONSTRAINED_SFT", "LOGIT_MATCHING"]
