"""Without a file of safety tokens: calibrate the model at hand once, and remember the result by the content that "
"made it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from pact_plugins.contracts.safety_tokens import SafetyTokens
from pact_plugins.distributed import everyone, from_first_rank, is_distributed
from pact_plugins.errors import SafetyTokensError
from pact_plugins.files import cache_folder
from pact_plugins.messages import announce, is_main_process
from pact_plugins.modeling import model_fingerprint, tokenizer_fingerprint
from pact_plugins.prompts import harmful_prompts, plain_prompts
from pact_plugins.safety_tokens.recipe import Recipe, calibrate, origin
from pact_plugins.safety_tokens.settings import SafetyTokensSettings

# What a file says beside the tokens themselves; counted up when something is added.
_CONTENT = 5
_SETTINGS_THAT_MATTER = (
    "top_k",
    "scorer",
    "include_openings",
    "exclude_special_tokens",
    "base_model_path",
    "max_refusals",
)


def automatic_safety_tokens(
    causal_lm: Any, tokenizer: Any, recipe: Recipe, cache_path: str | None, *, progress: bool = True
) -> tuple[SafetyTokens, Path]:
    """The safety tokens of ``causal_lm`` and the file that holds them; calibrated if the cache has none.

    A damaged cache file is replaced. Raises what ``calibrate`` raises.

    Args:
        cache_path: ``reference.cache_path``.
    """
    path = cache_folder(cache_path) / "safety_tokens" / f"{_key(causal_lm, tokenizer, recipe)}.safetensors"
    cached = _read(path, tokenizer)
    # Either all ranks read the file or all calibrate: a sharded model needs every rank to run.
    if everyone(cached is not None) and cached is not None:
        announce(f"{len(cached)} safety tokens from {path}")
        # Another run has calibrated them, of the same content in other places, which are no business of this run.
        return replace(cached, settings={**cached.settings, **origin(causal_lm, recipe.settings)}), path
    tokens = calibrate(causal_lm, tokenizer, recipe, progress=progress and is_main_process())
    tokens = _of_first_rank(tokens, tokenizer)
    kept = "kept in"
    if is_main_process():
        try:
            tokens.save(path)
        except OSError as error:
            # They are in memory, and the run leaves a copy in its output folder.
            kept = (
                f"but they cannot be kept ({error.strerror}; set reference.cache_path to a folder that can be written):"
            )
    announce(f"{len(tokens)} safety tokens calibrated, {kept} {path}")
    return tokens, path


def _read(path: Path, tokenizer: Any) -> SafetyTokens | None:
    try:
        return SafetyTokens.load(path, tokenizer=tokenizer) if path.exists() else None
    except SafetyTokensError as error:
        announce(f"the cached safety tokens are replaced: {error}")
        return None


def _of_first_rank(tokens: SafetyTokens, tokenizer: Any) -> SafetyTokens:
    """Rounding may differ between devices, and every rank must hold the same tokens."""
    if not is_distributed():
        return tokens
    token_ids = from_first_rank(tokens.token_ids)
    return replace(
        tokens,
        token_ids=token_ids,
        direction=from_first_rank(tokens.direction),
        aligned_probability=from_first_rank(tokens.aligned_probability),
        contrast_probability=from_first_rank(tokens.contrast_probability),
        token_strings=tuple(str(token) for token in tokenizer.convert_ids_to_tokens(token_ids.tolist())),
    )


def _key(causal_lm: Any, tokenizer: Any, recipe: Recipe) -> str:
    content = {
        "model": model_fingerprint(causal_lm),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "chat_template": str(getattr(tokenizer, "chat_template", "")),
        "refusals": _source(recipe.settings),
        "assistant_header": recipe.assistant_header,
        "content": _CONTENT,
        "max_response_tokens": recipe.response_tokens,
        "for_openings": recipe.for_openings,
        **{name: getattr(recipe.settings, name) for name in _SETTINGS_THAT_MATTER},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def _source(settings: SafetyTokensSettings) -> str:
    """A name for the content of the prompts and refusals that calibration reads."""
    digest = hashlib.sha256()
    for named in (settings.refusals_path, settings.harmful_prompts_path, settings.harmless_prompts_path):
        content = Path(named).read_bytes() if named is not None and Path(named).is_file() else str(named).encode()
        digest.update(hashlib.sha256(content).digest())
    for bundled in (*harmful_prompts("calibration"), *plain_prompts("calibration")):
        digest.update(bundled.prompt.encode())
    return digest.hexdigest()
