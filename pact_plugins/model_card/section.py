"""The section's text, from ``pact.json``, what ``pact verify`` says of it, and an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pact_plugins.config import PACTConfig
from pact_plugins.errors import ConfigurationError
from pact_plugins.model_card import evaluation
from pact_plugins.presets import DEFAULT_PRESET
from pact_plugins.report.markdown import cell, plain, table
from pact_plugins.verification import Verification

HEADING = "## Protection while training (PACT)"
_PAPER = "[PACT](https://arxiv.org/abs/2603.07445)"
_CITATION = """```bibtex
@misc{pact,
  title  = {{PACT}: Preserving safety Alignment via Constrained Tokens},
  eprint = {2603.07445},
  archivePrefix = {arXiv},
  url    = {https://arxiv.org/abs/2603.07445}
}
```"""
# They change no figure, or stand in the table's other rows.
_LEFT_OUT = ("preset", "safety_tokens.file", "safety_tokens.batch_size", "reference.cache_path")


def unfinished() -> str:
    """The section of a run that has not come to its end."""
    what = "this was saved before training under {_PAPER} had come to its end, or after it had gone on without"
    return f"{HEADING}\n\n**Not protected throughout**: {what.format(_PAPER=_PAPER)}.\n"


def finished(record: Mapping[str, Any], found: Verification, evaluated: Mapping[str, Any] | None) -> str:
    """The section of a run.

    Args:
        record: of ``pact.json``.
        found: what ``pact verify`` says of the run.
        evaluated: of ``pact_evaluation.json``.
    """
    parts = [HEADING, _verdict(found), table(("", ""), _facts(record, found), texts=2)]
    if record.get("drift"):
        parts += ["Logged while training:", _drift(record["drift"])]
    if evaluated is not None:
        parts += [*evaluation.texts(evaluated)]
    parts += [f"Cite the method ({_PAPER}) as:", _CITATION]
    return "\n\n".join(parts) + "\n"


def _verdict(found: Verification) -> str:
    steps = f"{found.protected_steps} of {found.trained_steps} optimizer steps were trained under {_PAPER}"
    if found.is_protected:
        return f"**Protected throughout**: {steps}."
    return "\n".join(
        [f"**Not protected throughout**: {steps}.", "", *(f"- {plain(problem)}" for problem in found.problems)]
    )


def _facts(record: Mapping[str, Any], found: Verification) -> list[tuple[str, str]]:
    config = dict(record.get("config") or {})
    tokens = record.get("safety_tokens")
    versions = {"pact-plugins": record.get("pact_plugins"), **(record.get("versions") or {})}
    pieces = f", in {len(found.pieces)} pieces" if len(found.pieces) > 1 else ""
    facts = [
        ("protected steps", f"{found.protected_steps} of {found.trained_steps}{pieces}"),
        ("preset", f"`{config.get('preset', '')}`"),
        ("settings that differ from its defaults", _differing(config)),
        ("left out of it", _left_out(record)),
        ("safety tokens", f"{tokens['count']}, fingerprint `{tokens['fingerprint']}`" if tokens else "none needed"),
        ("reference", f"`{record['reference']}`" if record.get("reference") else "none needed"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)),
    ]
    return [(name, cell(value)) for name, value in facts]


def _differing(config: Mapping[str, Any]) -> str:
    defaults = _flat(_defaults(str(config.get("preset", DEFAULT_PRESET)), config))
    changed = {
        key: value for key, value in _flat(config).items() if key not in _LEFT_OUT and value != defaults.get(key)
    }
    return ", ".join(f"`{key}: {_shown(value)}`" for key, value in changed.items()) or "none"


def _left_out(record: Mapping[str, Any]) -> str:
    return "; ".join(f"{part}: {plain(reason)}" for part, reason in (record.get("left_out") or {}).items()) or "nothing"


def _flat(settings: Mapping[str, Any], block: str = "") -> dict[str, Any]:
    """Keys of blocks with the blocks' names before them."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{block}{key}.") if isinstance(value, Mapping) and value else {f"{block}{key}": value}
    return found


def _defaults(preset: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a preset, with every block that is on; nothing where this process does not know the preset or a part."""
    on = {key: True for key, value in config.items() if isinstance(value, Mapping)}
    for settings in ({"preset": preset, **on}, {"preset": preset}):
        try:
            return PACTConfig.from_mapping(settings).model_dump(mode="json")
        except ConfigurationError:
            continue  # of a plugin that is not installed here
    return {}


def _shown(value: Any) -> str:
    """Files by their names: a card goes where nobody should learn how somebody's folders are called."""
    if isinstance(value, str) and (Path(value).is_absolute() or value.startswith((".", "~"))):
        value = Path(value).name
    # It stands between backticks, which nothing in it may end.
    return str(value).replace("`", "'")


def _drift(logged: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        (f"`{name}`", *(f"{values[moment]:.4g}" for moment in ("first", "highest", "last")))
        for name, values in logged.items()
    ]
    return table(("", "first", "highest", "last"), rows)
