"""From a model to its ``SafetyTokens``: refusals, two views of them, scores, the artifact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from pact_plugins import plugins
from pact_plugins.batch.replies import SampledReplies
from pact_plugins.batch.teacher_forcing import SEQUENCE_TOKENS, Forced, TeacherForced, teacher_force
from pact_plugins.contracts.safety_tokens import SafetyTokens
from pact_plugins.errors import ConfigurationError, SafetyTokensError
from pact_plugins.messages import announce
from pact_plugins.modeling import (
    LiveHead,
    ModelParts,
    assistant_header_ids,
    model_parts_of,
    preserved_random_state,
    prompt_ids,
    tokenizer_fingerprint,
)
from pact_plugins.modeling.loading import why_not_loaded
from pact_plugins.modeling.vocabulary import special_token_ids
from pact_plugins.prompts import harmful_prompts, plain_prompts
from pact_plugins.safety_tokens.beginnings import Beginnings
from pact_plugins.safety_tokens.calibration import score_tokens
from pact_plugins.safety_tokens.opening_tokens import find_opening_tokens, refusal_threshold
from pact_plugins.safety_tokens.refusals import Refusal, read_prompts, read_refusals, sample_refusals
from pact_plugins.safety_tokens.settings import SafetyTokensSettings

BASE_TEMPLATE = "User: {prompt}\n\nAssistant: "
# Of a reply: whether it refuses.
_TOKENS_THAT_TELL = 24


@dataclass(frozen=True)
class Recipe:
    """How safety tokens are found.

    Attributes:
        settings: the ``safety_tokens`` block.
        assistant_header: the ``reference`` block's.
        needs_weights: the weights will be used, so that they need a contrast.
        for_openings: nothing but the openings of refusals will be read, which a few tokens of each refusal show.
        replies: of the aligned model, kept for whoever else reads them.
    """

    settings: SafetyTokensSettings
    assistant_header: str | None = None
    needs_weights: bool = False
    for_openings: bool = False
    replies: SampledReplies = field(default_factory=SampledReplies)

    @property
    def response_tokens(self) -> int:
        """Tokens of each refusal that are sampled and read."""
        most = self.settings.max_response_tokens
        return min(most, _TOKENS_THAT_TELL) if self.for_openings else most


def calibrate(
    causal_lm: Any, tokenizer: Any, recipe: Recipe, *, release_model: bool = False, progress: bool = True
) -> SafetyTokens:
    """Find the safety tokens of an aligned model (adapters, if any, are the caller's to switch off).

    With ``base_model_path`` the contrast is the base model, given the prompt as plain text; without, it is the aligned
    model itself given no prompt at all. The choice affects the weights only: which tokens are kept depends on the
    aligned model alone.

    Args:
        causal_lm: the aligned transformers model, on the device where it shall run.
        release_model: free ``causal_lm`` (move it to the meta device) before a base model is loaded.

    Raises:
        SafetyTokensError, ConfigurationError: no refusals, no chat template, a base model of another vocabulary.
    """
    model_parts, settings = model_parts_of(causal_lm), recipe.settings
    refusals = gather_refusals(causal_lm, tokenizer, recipe, progress=progress)
    aligned = _view(
        model_parts, [prompt_ids(tokenizer, refusal.prompt) for refusal in refusals], refusals, settings, progress
    )
    device = causal_lm.device
    excluded = excluded_ids(causal_lm, tokenizer, model_parts.vocabulary_size, special=settings.exclude_special_tokens)
    beginnings = _beginnings(model_parts, tokenizer, settings, (refusals, aligned), progress)
    # A quarter of the safety tokens each, at most: the body of a refusal must stay represented.
    opening_tokens = find_opening_tokens(*beginnings.first, limit=max(1, settings.top_k // 4), excluded_ids=excluded)
    openings = beginnings.openings(excluded)
    if not openings:
        announce(
            "no refusal openings found: the model begins its answers to harmful and to harmless prompts alike, so that "
            "row gate, gated anchor and audit have nothing to go by. It may refuse the harmless ones too (give plain "
            "ones: harmless_prompts_path), refuse too few of the harmful ones (harmful_prompts_path), or think before "
            "it answers"
        )
    threshold = refusal_threshold(beginnings.masses(openings)) if openings else 0.5
    if settings.base_model_path is None:
        header = _contrast_header(tokenizer, recipe)
        contrast = _view(model_parts, [header] * len(refusals), refusals, settings, progress)
        contrast_name = "prompt-free"
    else:
        aligned = Forced(aligned.hidden_states, LiveHead(causal_lm).frozen())
        if release_model:
            causal_lm.to("meta")
        contrast = _base_view(settings, tokenizer, refusals, dtype=causal_lm.dtype, device=device, progress=progress)
        contrast_name = settings.base_model_path
    result = score_tokens(
        aligned,
        contrast,
        plugins.token_scorers()[settings.scorer],
        top_k=settings.top_k,
        included_ids=opening_tokens.ids if settings.include_openings else (),
        excluded_ids=excluded,
        device=device,
        progress=progress,
    )
    return SafetyTokens.from_direction(
        result.direction,
        aligned_probability=result.aligned_probability,
        contrast_probability=result.contrast_probability,
        tokenizer=tokenizer,
        settings=_settings(causal_lm, recipe, refusals=len(refusals), contrast=contrast_name)
        | {
            "refusal_opening_tokens": list(opening_tokens.refusal),
            "refusal_openings": [list(opening) for opening in openings],
            "refusal_opening_strings": [tokenizer.convert_ids_to_tokens(list(opening)) for opening in openings],
            "refusal_threshold": threshold,
            "compliance_opening_tokens": list(opening_tokens.compliance),
            "refusal_opening_token_strings": tokenizer.convert_ids_to_tokens(list(opening_tokens.refusal)),
            "compliance_opening_token_strings": tokenizer.convert_ids_to_tokens(list(opening_tokens.compliance)),
        },
    )


def _beginnings(
    model_parts: ModelParts,
    tokenizer: Any,
    settings: SafetyTokensSettings,
    refused: tuple[Sequence[Refusal], Forced],
    progress: bool,
) -> Beginnings:
    """After the prompts that the model refused, whose view is known, and after harmless ones."""
    refusals, view = refused
    harmless = _prompts(settings.harmless_prompts_path, "harmless_prompts_path", plain_prompts)
    return Beginnings(
        model_parts,
        [prompt_ids(tokenizer, refusal.prompt) for refusal in refusals],
        [prompt_ids(tokenizer, prompt) for prompt in harmless],
        batch_size=settings.batch_size,
        progress=progress,
        after_harmful=torch.stack([states[0] for states in view.hidden_states]),
    )


def _prompts(path: str | None, key: str, bundled: Any) -> list[str]:
    return [item.prompt for item in bundled("calibration")] if path is None else read_prompts(path, key=key)


def gather_refusals(causal_lm: Any, tokenizer: Any, recipe: Recipe, *, progress: bool) -> list[Refusal]:
    """The user's refusals, or the model's own on the user's or the bundled prompts; responses cut to the limit."""
    settings, most = recipe.settings, recipe.response_tokens
    if settings.refusals_path is not None:
        refusals = read_refusals(settings.refusals_path, tokenizer, limit=settings.max_refusals)
    else:
        prompts = _prompts(settings.harmful_prompts_path, "harmful_prompts_path", harmful_prompts)
        announce(
            f"calibrating: the model is asked {len(prompts)} harmful prompts for at most "
            f"{most} tokens each, and reads its refusals and {len(plain_prompts('calibration'))} plain prompts; "
            "safety_tokens.batch_size sets how many at once"
        )
        refusals = sample_refusals(
            causal_lm,
            tokenizer,
            prompts,
            replies=recipe.replies,
            max_new_tokens=most,
            max_tokens=settings.batch_size * SEQUENCE_TOKENS,
            limit=settings.max_refusals,
            progress=progress,
        )
        announce(f"calibrating on {len(refusals)} refusals that the model gave to {len(prompts)} harmful prompts")
    return [Refusal(item.prompt, item.response_ids[:most]) for item in refusals]


def _view(
    model_parts: Any,
    contexts: Sequence[Sequence[int]],
    refusals: Sequence[Refusal],
    settings: SafetyTokensSettings,
    progress: bool,
) -> Forced:
    pairs = zip(contexts, refusals, strict=True)
    return teacher_force(
        model_parts.decoder,
        LiveHead(model_parts.causal_lm),
        [TeacherForced(context, refusal.response_ids) for context, refusal in pairs],
        batch_size=settings.batch_size,
        description="teacher-forcing refusals",
        progress=progress,
    )


def _contrast_header(tokenizer: Any, recipe: Recipe) -> list[int]:
    # `match` needs no contrast, so a template without a generation prompt must not stop it: the whole prompt frame of
    # an empty message is the nearest thing to no prompt.
    try:
        return assistant_header_ids(tokenizer, recipe.assistant_header)
    except ConfigurationError:
        if not getattr(tokenizer, "chat_template", None) or recipe.needs_weights:
            raise
        return prompt_ids(tokenizer, "")


def _base_view(
    settings: SafetyTokensSettings,
    tokenizer: Any,
    refusals: Sequence[Refusal],
    *,
    dtype: Any,
    device: Any,
    progress: bool,
) -> Forced:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert settings.base_model_path is not None
    try:
        base_tokenizer = AutoTokenizer.from_pretrained(settings.base_model_path)
        with preserved_random_state():
            base = AutoModelForCausalLM.from_pretrained(settings.base_model_path, dtype=dtype)
    except (OSError, ValueError) as error:
        reason = why_not_loaded(settings.base_model_path, error)
        raise ConfigurationError(f"base_model_path: {settings.base_model_path} cannot be loaded: {reason}") from error
    if tokenizer_fingerprint(base_tokenizer) != tokenizer_fingerprint(tokenizer):
        raise SafetyTokensError(
            f"base_model_path: {settings.base_model_path} has another tokenizer than the aligned model; "
            "name the base model that it was aligned from, or leave the key out"
        )
    begin = [] if base_tokenizer.bos_token_id is None else [base_tokenizer.bos_token_id]
    texts = [BASE_TEMPLATE.format(prompt=refusal.prompt) for refusal in refusals]
    contexts = [begin + base_tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    return _view(model_parts_of(base.to(device).eval()), contexts, refusals, settings, progress)


def excluded_ids(causal_lm: Any, tokenizer: Any, vocabulary_size: int, *, special: bool) -> set[int]:
    """Ids that are never safety or opening tokens: rows without a token and, with ``special``, special tokens."""
    # Rows beyond the tokenizer are padding of the embedding matrix: no text ever holds them.
    excluded = set(range(len(tokenizer), vocabulary_size))
    if special:
        ends = getattr(getattr(causal_lm, "generation_config", None), "eos_token_id", None)
        excluded |= {end for end in (ends if isinstance(ends, list) else [ends]) if end is not None}
        excluded |= special_token_ids(tokenizer)
    return {index for index in excluded if index < vocabulary_size}


def origin(causal_lm: Any, settings: SafetyTokensSettings) -> dict[str, Any]:
    """Where model and refusals lay: the settings that say nothing of their content."""
    return {
        "model": str(getattr(causal_lm.config, "_name_or_path", "")),
        "model_revision": getattr(causal_lm.config, "_commit_hash", None),
        "refusals_from": settings.refusals_path or settings.harmful_prompts_path or "bundled prompts",
    }


def _settings(causal_lm: Any, recipe: Recipe, *, refusals: int, contrast: str) -> dict[str, Any]:
    settings = recipe.settings
    return {
        **origin(causal_lm, settings),
        "contrast": contrast,
        "scorer": settings.scorer,
        "top_k": settings.top_k,
        "include_openings": settings.include_openings,
        "exclude_special_tokens": settings.exclude_special_tokens,
        "refusals": refusals,
        "max_response_tokens": recipe.response_tokens,
        "for_openings": recipe.for_openings,
        "torch": torch.__version__,
    }
