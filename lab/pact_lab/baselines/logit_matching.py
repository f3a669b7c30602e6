"""Holding the logits of refusal tokens, in the spirit of safety token regularization (arXiv 2604.17210).

Only that paper's abstract was available to us: it "identifies salient tokens from rejection templates of well-aligned
models and constrains their associated logits during training". The squared distance, its coefficient and the choice of
tokens below are our reading of this sentence, hence a name of our own.
"""

from __future__ import annotations

from pact_plugins.contracts import ObjectiveInputs, ObjectiveOutput


def logit_matching(inputs: ObjectiveInputs) -> ObjectiveOutput:
    """``mean over S of (z - r)^2`` on plain logits: (N,).

    ``S`` are the safety tokens: the tokens that the aligned model's own refusals are made of.
    """
    difference = inputs.train_logits.float() - inputs.reference_logits.detach().float()
    return ObjectiveOutput(difference.square().mean(dim=-1))
