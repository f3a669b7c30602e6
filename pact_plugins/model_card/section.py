"""The section's text, from ``pact.json``, what ``pact verify`` says of it, and an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pact_plugins.model_card import evaluation
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
    if record["drift"]:
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
    versions = {"pact-plugins": record["pact_plugins"], **record["versions"]}
    segments = f", in {len(found.segments)} segments" if len(found.segments) > 1 else ""
    facts = [
        ("protected steps", f"{found.protected_steps} of {found.trained_steps}{segments}"),
        ("weights", f"digest `{_shown(record['weights'])}`"),
        ("preset", f"`{_shown(record['config'].get('preset', ''))}`"),
        ("settings that differ from its defaults", _listed(record["changed_settings"])),
        ("left out of it", _left_out(record)),
        ("safety tokens", _tokens(record["safety_tokens"])),
        ("reference", f"`{_shown(record['reference'])}`" if record["reference"] else "none needed"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)),
    ]
    return [(name, cell(value)) for name, value in facts]


def _listed(changed: Mapping[str, Any]) -> str:
    shown = [f"`{key}: {_shown(value)}`" for key, value in changed.items() if key not in _LEFT_OUT]
    return ", ".join(shown) or "none"


def _left_out(record: Mapping[str, Any]) -> str:
    return "; ".join(f"{part}: {plain(str(reason))}" for part, reason in record["left_out"].items()) or "nothing"


def _tokens(tokens: Mapping[str, Any] | None) -> str:
    return f"{tokens['count']}, fingerprint `{_shown(tokens['fingerprint'])}`" if tokens else "none needed"


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
