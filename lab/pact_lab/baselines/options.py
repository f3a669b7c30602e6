"""Reading ``term.options`` of the baselines, and the target tokens that they need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pact_plugins.contracts import ObjectiveInputs
from pact_plugins.errors import ConfigurationError


def read_options(name: str, options: Mapping[str, Any], defaults: Mapping[str, float]) -> dict[str, float]:
    """The defaults, with what the user wrote.

    Raises:
        ConfigurationError: an unknown key, or a value that is no number above 0.
    """
    unknown = sorted(set(options) - set(defaults))
    if unknown:
        raise ConfigurationError(
            f"term.options: {', '.join(unknown)} unknown to {name}; known keys: {', '.join(defaults)}"
        )
    for key, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ConfigurationError(f"term.options.{key}: {value!r} is not a number above 0")
    return {**defaults, **{key: float(value) for key, value in options.items()}}


def target_log_probs(log_probs: Tensor, inputs: ObjectiveInputs) -> Tensor:
    """(N, V) log-probabilities to (N,) those of the tokens to be learnt."""
    assert inputs.target_ids is not None
    return torch.gather(log_probs, 1, inputs.target_ids.unsqueeze(1)).squeeze(1)
