"""The methods of ``pact compare`` that ship with the package."""

from __future__ import annotations

from collections.abc import Callable

from pact_plugins.hookspecs import hookimpl
from pact_plugins.methods import Method, mix_in_refusals

METHODS = (
    Method("sft", "plain supervised fine-tuning"),
    Method("published", "PACT as published", {"preset": "published"}),
    Method("match", "PACT, objective match", {"preset": "match"}),
    Method("guard", "gate, anchor and match at 0.5", {"preset": "guard"}),
    Method("gate", "the reference gate alone", {"preset": "match", "kl_coef": 0, "gate_training_rows": "hard"}),
    Method("anchor", "the balanced anchor alone", {"preset": "match", "kl_coef": 0, "anchor": "bundled"}),
    Method(
        "gate_anchor",
        "gate and anchor without match",
        {"preset": "match", "kl_coef": 0, "gate_training_rows": "hard", "anchor": "bundled"},
    ),
    Method("full_kl", "KL to the reference over the whole vocabulary", {"preset": "match", "objective": "full_kl"}),
    Method("asft", "anchored SFT, arXiv 2509.23753", {"preset": "match", "objective": "asft"}),
    Method(
        "constrained_sft",
        "token-wise constrained SFT, arXiv 2406.05946",
        {"preset": "match", "objective": "constrained_sft"},
    ),
    Method(
        "logit_matching",
        "logits of refusal tokens held, after the abstract of arXiv 2604.17210",
        {"preset": "match", "objective": "logit_matching", "include_openers": False},
    ),
    Method("mixed_refusals", "plain, with refusals of calibration prompts mixed in (10 %)", None, mix_in_refusals),
)


@hookimpl
def register_methods(register: Callable[[Method], None]) -> None:
    for method in METHODS:
        register(method)
