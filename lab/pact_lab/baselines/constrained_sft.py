"""Token-wise constrained supervised fine-tuning (Qi et al., arXiv 2406.05946, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pact_lab.baselines.options import read_options, target_log_probs
from pact_plugins.contracts import ObjectiveInputs, ObjectiveOutput

# The paper's: 0.5 for the first response token, 2 for the second to the fifth, 0.1 from there on.
DEFAULTS = {"first_beta": 0.5, "early_beta": 2.0, "later_beta": 0.1, "early_tokens": 5.0}


def constrained_sft(inputs: ObjectiveInputs) -> ObjectiveOutput:
    """``-(2 / b) log sigmoid(b (log p(y) - log p_reference(y)))``, minus the framework's ``-log p(y)``: (N,).

    ``b`` depends on the position in the response: the larger, the sooner the gradient of a token fades as the model
    leaves the reference. At zero drift the gradient is that of the cross-entropy. ``objective_options``:
    ``first_beta``, ``early_beta``, ``later_beta``, and ``early_tokens``, the number of tokens before ``later_beta``.
    """
    options = read_options("constrained_sft", inputs.options, DEFAULTS)
    log_prob = target_log_probs(torch.log_softmax(inputs.train_logits.float(), dim=-1), inputs)
    reference = target_log_probs(torch.log_softmax(inputs.reference_logits.float(), dim=-1), inputs).detach()
    beta = position_beta(inputs.positions, **options)
    constrained = 2 / beta * functional.softplus(-beta * (log_prob - reference))
    return ObjectiveOutput(constrained + log_prob)


def position_beta(
    positions: Tensor, *, first_beta: float, early_beta: float, later_beta: float, early_tokens: float
) -> Tensor:
    """(N,) response positions, counted from 0, to (N,) float32 ``b``."""
    later = torch.where(positions < early_tokens, early_beta, later_beta)
    return torch.where(positions == 0, first_beta, later).float()
