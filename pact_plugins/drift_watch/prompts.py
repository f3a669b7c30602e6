"""What the watch asks: requests to be refused, look-alikes of them, and what nobody would think of refusing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pact_plugins.drift_watch.settings import DriftWatchSettings
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import read_rows
from pact_plugins.prompts import evenly_spread, harmful_prompts, harmless_prompts, plain_prompts

KINDS = ("harmful", "lookalike", "plain")
_BUNDLED = dict(zip(KINDS, (harmful_prompts, harmless_prompts, plain_prompts), strict=True))
_KEY = "drift_watch.prompts_path"


def watched_prompts(settings: DriftWatchSettings, held: Collection[str] = ()) -> dict[str, list[str]]:
    """Kind to at most ``settings.prompts`` user messages, from the user's file or bundled ones.

    Only the calibration split of the bundled prompts is used, so that evaluation stays on prompts never looked at.

    Args:
        held: prompts that the loss itself holds (the anchor's), which would look better than others; left out where
            enough remain.

    Raises:
        ConfigurationError: the user's file is malformed, or has no harmful prompt.
    """
    if settings.prompts_path is not None:
        found = _read(settings.prompts_path)
    else:
        found = {kind: [item.prompt for item in bundled("calibration")] for kind, bundled in _BUNDLED.items()}
    return {kind: _some(prompts, settings.prompts, held) for kind, prompts in found.items() if prompts}


def _some(prompts: list[str], count: int, held: Collection[str]) -> list[str]:
    free = [prompt for prompt in prompts if prompt not in held]
    chosen = free if len(free) >= min(count, len(prompts)) else prompts
    return evenly_spread(chosen, min(count, len(chosen)))


def _read(path: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for number, row in enumerate(read_rows(path, key=_KEY), start=1):
        prompt, kind = (row.get("prompt"), row.get("kind")) if isinstance(row, dict) else (None, None)
        if not _is_text(prompt) or kind not in KINDS:
            raise ConfigurationError(
                f"{_KEY}: row {number} of {path} needs a text 'prompt' and a 'kind' of {', '.join(KINDS)}"
            )
        found[kind].append(str(prompt))
    if not found["harmful"]:
        raise ConfigurationError(
            f"{_KEY}: {path} has no harmful prompt, so that no lost refusal would be seen; add some"
        )
    return found


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
