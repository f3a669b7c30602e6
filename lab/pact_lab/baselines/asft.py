"""Anchored supervised fine-tuning (arXiv 2509.23753)."""

from __future__ import annotations

import torch

from pact_lab.baselines.options import read_options, target_log_probs
from pact_plugins.contracts import ObjectiveInputs, ObjectiveOutput
from pact_plugins.term.divergence import full_kl

# Weight of the KL in the authors' released scripts.
DEFAULTS = {"kl_weight": 0.05}


def asft(inputs: ObjectiveInputs) -> ObjectiveOutput:
    """``p CE + kl_weight KL(reference || model)``, minus the framework's ``CE``: (N,).

    ``p`` is the model's probability of the token to be learnt, without gradient (dynamic fine-tuning), and the KL is
    over the whole vocabulary at temperature 1. ``objective_options``: ``kl_weight``.
    """
    options = read_options("asft", inputs.options, DEFAULTS)
    cross_entropy = -target_log_probs(torch.log_softmax(inputs.train_logits.float(), dim=-1), inputs)
    probability = torch.exp(-cross_entropy.detach())
    anchor = full_kl(inputs.train_logits, inputs.reference_logits, temperature=1.0)
    return ObjectiveOutput((probability - 1) * cross_entropy + options["kl_weight"] * anchor, {"anchor_kl": anchor})
