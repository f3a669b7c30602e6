"""What the parts of a run need together, with the safety tokens that this takes: read, or calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pact_plugins import plugins
from pact_plugins.contracts import SafetyTokens
from pact_plugins.errors import ConfigurationError, PartUnavailableError
from pact_plugins.messages import warn
from pact_plugins.reference.aligned import AlignedModel
from pact_plugins.safety_tokens.automatic import automatic_safety_tokens
from pact_plugins.training.asking import Asked

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig
    from pact_plugins.settings import Block

_NO_OPENINGS = (
    "the safety tokens name no openings of refusals, so nobody can say what the model would refuse: calibration found "
    "that it begins its answers to harmful and to harmless prompts alike. It may refuse the harmless ones too (give "
    "plain ones: safety_tokens.harmless_prompts_path), refuse too few of the harmful ones "
    "(safety_tokens.harmful_prompts_path), or think before it answers"
)


def asked_by(
    config: PACTConfig, chosen: Mapping[str, Block], aligned: AlignedModel, tokenizer: Any, given: SafetyTokens | None
) -> Asked:
    """What the chosen parts need, checked against model and tokenizer.

    Args:
        aligned: what is calibrated where no file is named.
        given: safety tokens that override ``config.safety_tokens``.

    Raises:
        SafetyTokensError: they belong to another tokenizer or vocabulary, or are damaged.
        PartUnavailableError: they lack what a part needs.
        ConfigurationError: they lack what the drift watch needs.
    """
    needs = {name: plugins.parts()[name].needs(settings) for name, settings in chosen.items()}
    tokens = None
    if config.drift_watch or any(needed.needs_safety_tokens for needed in needs.values()):
        reads_tokens = any(needed.reads_tokens for needed in needs.values())
        tokens = given or _find(config, aligned, tokenizer, reads_tokens=reads_tokens)
        if reads_tokens and tokens.settings.get("for_openings"):
            warn(
                "safety_tokens: these are of a run that read nothing of them but the openings of refusals, calibrated "
                f"on the first {tokens.settings.get('max_response_tokens')} tokens of each refusal; for a term, "
                "calibrate them anew: `pact calibrate MODEL -o FILE`"
            )
        tokens.check_tokenizer(tokenizer)
        tokens.check_vocabulary(aligned.trained.vocabulary_size)
    for name, needed in needs.items():
        if tokens is not None and needed.needs_openings and not tokens.refusal_openings:
            raise PartUnavailableError(_NO_OPENINGS, name)
        if tokens is not None and needed.weights and not bool((tokens.weights > 0).any()):
            raise PartUnavailableError("it needs safety tokens of positive weight, there is none", name)
    if config.drift_watch and tokens is not None and not tokens.refusal_openings:
        raise ConfigurationError(f"drift_watch: {_NO_OPENINGS}")
    return Asked(needs, tokens, next(aligned.trained.decoder.parameters()).device)


def _find(config: PACTConfig, aligned: AlignedModel, tokenizer: Any, *, reads_tokens: bool) -> SafetyTokens:
    if config.safety_tokens.file is not None:
        return SafetyTokens.load(Path(config.safety_tokens.file).expanduser(), tokenizer=tokenizer)
    recipe = replace(config.recipe(), for_openings=not reads_tokens, replies=aligned.replies)
    with aligned.running() as model_parts:
        return automatic_safety_tokens(model_parts.causal_lm, tokenizer, recipe, config.reference.cache_path)[0]
