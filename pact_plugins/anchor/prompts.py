"""The prompts that the anchor holds the model to: harmful and harmless ones, in equal number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pact_plugins.anchor.settings import AnchorSettings
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import read_rows
from pact_plugins.prompts import BundledPrompt, evenly_spread, harmful_prompts, harmless_prompts, plain_prompts

KINDS = ("harmful", "harmless")


@dataclass(frozen=True)
class AnchorPrompts:
    """User messages of each kind."""

    harmful: tuple[str, ...]
    harmless: tuple[str, ...]


def anchor_prompts(settings: AnchorSettings) -> AnchorPrompts:
    """As many prompts as ``replies``, half of each kind: from the user's file, else bundled ones.

    The bundled harmless ones are look-alikes and plain requests in turn.

    Only the calibration split of the bundled prompts is used, so that evaluation stays on prompts never seen.

    Raises:
        ConfigurationError: the user's file is malformed, or holds prompts of one kind only.
    """
    if settings.prompts_file is None:
        harmful = [item.prompt for item in harmful_prompts("calibration")]
        harmless = _alternating(harmless_prompts("calibration"), plain_prompts("calibration"))
    else:
        harmful, harmless = read_anchor_prompts(settings.prompts_file)
    half = settings.replies // 2
    return AnchorPrompts(tuple(evenly_spread(harmful, settings.replies - half)), tuple(evenly_spread(harmless, half)))


def _alternating(lookalikes: Sequence[BundledPrompt], plain: Sequence[BundledPrompt]) -> list[str]:
    """A look-alike, a plain request, and so on: held to one kind alone, a model drifts on the other."""
    count = min(len(lookalikes), len(plain))
    pairs = zip(evenly_spread(lookalikes, count), evenly_spread(plain, count), strict=True)
    return [item.prompt for pair in pairs for item in pair]


def read_anchor_prompts(path: str) -> tuple[list[str], list[str]]:
    """Harmful and harmless prompts of a JSON or JSONL file with the keys ``prompt`` and ``kind``.

    Raises:
        ConfigurationError: a row is malformed, or a kind is missing.
    """
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for number, row in enumerate(read_rows(path, key="anchor.prompts"), start=1):
        prompt, kind = _read(row)
        if prompt is None or kind not in KINDS:
            raise ConfigurationError(
                f"anchor.prompts: row {number} of {path} needs a text 'prompt' and a 'kind' of {' or '.join(KINDS)}"
            )
        found[kind].append(prompt)
    for kind, consequence in (
        ("harmless", "anchored to refusals alone, a model learns to refuse harmless requests as well"),
        ("harmful", "anchored to help alone, a model is not held where it drifts"),
    ):
        if not found[kind]:
            raise ConfigurationError(f"anchor.prompts: {path} has no {kind} prompt: {consequence}; add some")
    return found["harmful"], found["harmless"]


def _read(row: Any) -> tuple[str | None, str]:
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str) or not row["prompt"].strip():
        return None, ""
    return row["prompt"], str(row.get("kind"))
