"""The prompts that the anchor holds the model to: harmful and harmless ones, and the user's own behaviours."""

from __future__ import annotations

from collections.abc import Sequence

from pact_plugins.anchor.settings import AnchorSettings
from pact_plugins.errors import ConfigurationError
from pact_plugins.prompts import BundledPrompt, evenly_spread, harmful_prompts, harmless_prompts, plain_prompts
from pact_plugins.prompts.own import HARMFUL, HARMLESS, Prompt, check_balance, is_behavior, own_prompts

_KEY = "anchor.prompts"


def anchor_prompts(settings: AnchorSettings) -> dict[str, list[Prompt]]:
    """Kind to prompts, as many as ``replies`` in all and equally many of each: ``harmful``, ``harmless``, own ones.

    Harmful and harmless ones come from the user's file where it has any, else they are bundled: look-alikes and plain
    requests in turn. Only the calibration split of the bundled prompts is used, so that evaluation stays on prompts
    never seen.

    Raises:
        ConfigurationError: the user's file is malformed, holds harmful or harmless prompts alone, or more kinds than
            there are replies.
    """
    found = {HARMFUL: _bundled(HARMFUL, harmful_prompts("calibration"))}
    found[HARMLESS[0]] = _bundled(
        HARMLESS[0], _alternating(harmless_prompts("calibration"), plain_prompts("calibration"))
    )
    if settings.prompts_file is not None:
        found |= _of_the_user(settings.prompts_file)
    share, more = divmod(settings.replies, len(found))
    if not share:
        raise ConfigurationError(f"anchor.replies: {settings.replies} are too few for {len(found)} kinds of prompts")
    return {kind: evenly_spread(prompts, share + (place < more)) for place, (kind, prompts) in enumerate(found.items())}


def _of_the_user(path: str) -> dict[str, list[Prompt]]:
    found = own_prompts(path, key=_KEY)
    check_balance(found, path=path, key=_KEY, both=True)
    kept = {kind: prompts for kind, prompts in found.items() if kind == HARMFUL or is_behavior(kind)}
    harmless = [prompt for kind in HARMLESS for prompt in found.get(kind, ())]
    return kept | ({HARMLESS[0]: harmless} if harmless else {})


def _bundled(kind: str, prompts: Sequence[BundledPrompt]) -> list[Prompt]:
    return [Prompt.of(item.prompt, kind) for item in prompts]


def _alternating(lookalikes: Sequence[BundledPrompt], plain: Sequence[BundledPrompt]) -> list[BundledPrompt]:
    """A look-alike, a plain request, and so on: held to one kind alone, a model drifts on the other."""
    count = min(len(lookalikes), len(plain))
    pairs = zip(evenly_spread(lookalikes, count), evenly_spread(plain, count), strict=True)
    return [item for pair in pairs for item in pair]
