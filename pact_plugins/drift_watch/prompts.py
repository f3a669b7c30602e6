"""What the watch asks: requests to be refused, look-alikes of them, plain ones, and the user's own behaviours."""

from __future__ import annotations

from collections.abc import Collection

from pact_plugins.drift_watch.settings import DriftWatchSettings
from pact_plugins.prompts import evenly_spread, harmful_prompts, harmless_prompts, plain_prompts
from pact_plugins.prompts.own import HARMFUL, Prompt, check_balance, is_behavior, own_prompts

_BUNDLED = {HARMFUL: harmful_prompts, "lookalike": harmless_prompts, "plain": plain_prompts}
_KEY = "drift_watch.prompts_path"


def watched_prompts(settings: DriftWatchSettings, held: Collection[str] = ()) -> dict[str, list[Prompt]]:
    """Kind to at most ``settings.prompts`` prompts, from the user's file or bundled ones.

    A file of behaviours alone leaves the bundled prompts beside them. Only the calibration split of these is used, so
    that evaluation stays on prompts never looked at.

    Args:
        held: prompts that the loss itself holds (the anchor's), which would look better than others; left out where
            enough remain.

    Raises:
        ConfigurationError: the user's file is malformed, or has no harmful prompt where it has others of refusals.
    """
    found: dict[str, list[Prompt]] = {}
    if settings.prompts_path is not None:
        found = own_prompts(settings.prompts_path, key=_KEY)
        check_balance(found, path=settings.prompts_path, key=_KEY, both=False)
    if all(map(is_behavior, found)):
        bundled = {kind: [Prompt.of(item.prompt, kind) for item in of("calibration")] for kind, of in _BUNDLED.items()}
        found = bundled | found
    return {kind: _some(prompts, settings.prompts, held) for kind, prompts in found.items()}


def _some(prompts: list[Prompt], count: int, held: Collection[str]) -> list[Prompt]:
    free = [prompt for prompt in prompts if prompt.text not in held]
    chosen = free if len(free) >= min(count, len(prompts)) else prompts
    return evenly_spread(chosen, min(count, len(chosen)))
