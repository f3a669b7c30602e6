"""The methods of ``pact compare`` that ship with the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pact_lab.rivals import SafeGrad, SafetyAnchor, WeightAverage
from pact_plugins.config import PACTConfig
from pact_plugins.contracts import Method, Row, TransformContext
from pact_plugins.settings import merged


def configured(method: Method, common: Mapping[str, Any]) -> PACTConfig | None:
    """The method's configuration, on top of the settings that all methods share; the method's own win.

    Blocks of parts that the method does without stay off.

    Raises:
        ConfigurationError: a wrong key or value.
    """
    if method.settings is None:
        return None
    source = f"method {method.name}"
    alone = PACTConfig.from_mapping(method.settings, source=source)
    blocks = {*alone.parts, *PACTConfig.model_fields}
    shared = {name: block for name, block in common.items() if name in blocks}
    own = {name: {} if value is True else value for name, value in method.settings.items()}
    return PACTConfig.from_mapping(merged(shared, own), source=source)


def mix_in_refusals(rows: Sequence[Row], context: TransformContext, *, share: float = 0.1) -> list[Row]:
    """``rows`` with refusals of calibration prompts added, ``share`` of their number, and shuffled."""
    count = round(share * len(rows))
    refusals = list(context.refusals)
    chosen = [refusals[context.rng.randrange(len(refusals))] for _ in range(count)] if refusals else []
    mixed = [*rows, *(chat_row(refusal["prompt"], refusal["response"]) for refusal in chosen)]
    context.rng.shuffle(mixed)
    return mixed


def chat_row(prompt: str, response: str) -> Row:
    """One user turn and its response."""
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": response}],
    }


METHODS = (
    Method("sft", "plain supervised fine-tuning"),
    Method("published", "PACT as published", {"preset": "published"}),
    Method("match", "PACT, objective match", {"preset": "match"}),
    Method("pact", "gate, anchor, and match at 0.2 on refused rows", {"preset": "pact"}),
    Method("guard", "gate, anchor and match at 0.5", {"preset": "guard"}),
    Method(
        "gate_anchor_odds",
        "gate, anchor and log_odds",
        {"preset": "gate_anchor", "term": {"objective": "log_odds"}},
    ),
    Method("log_odds", "the log-odds alone", {"preset": "match", "term": {"objective": "log_odds"}}),
    Method("gate", "the row gate alone", {"preset": "off", "row_gate": True}),
    Method("anchor", "the balanced anchor alone", {"preset": "off", "anchor": True}),
    Method(
        "gate_anchor",
        "gate and anchor without match",
        {"preset": "gate_anchor"},
    ),
    Method(
        "full_kl",
        "KL to the reference over the whole vocabulary",
        {"preset": "match", "term": {"objective": "full_kl"}},
    ),
    Method("asft", "anchored SFT, arXiv 2509.23753", {"preset": "match", "term": {"objective": "asft"}}),
    Method(
        "constrained_sft",
        "token-wise constrained SFT, arXiv 2406.05946",
        {"preset": "match", "term": {"objective": "constrained_sft"}},
    ),
    Method(
        "logit_matching",
        "logits of refusal tokens held, after the abstract of arXiv 2604.17210",
        {"preset": "match", "term": {"objective": "logit_matching"}, "safety_tokens": {"include_openings": False}},
    ),
    # The paper's guardrail scores each segment of a response; here the reference judges the request alone.
    Method(
        "star_dss",
        "harmful rows' cross-entropy traded for KL to the reference, after arXiv 2505.17196",
        {"preset": "off", "row_gate": {"mode": "soft"}, "term": {"objective": "full_kl", "rows": "refused"}},
    ),
    Method("weight_average", "moving average of the weights, arXiv 2508.12531", callbacks=WeightAverage()),
    Method("safe_grad", "conflicts with refusals projected out, arXiv 2508.07172", callbacks=SafeGrad()),
    Method("safety_anchor", "last hidden states of harmful prompts held, arXiv 2605.05995", callbacks=SafetyAnchor()),
    Method("mixed_refusals", "plain, with refusals of calibration prompts mixed in (10 %)", None, mix_in_refusals),
)
