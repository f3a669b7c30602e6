"""Settings on a command line: ``pact.term.weight=1``, ``--pact.term.weight=1`` and ``--pact.term.weight 1`` alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pact_plugins.errors import ConfigurationError
from pact_plugins.settings import merged
from pact_plugins.yaml_text import parse_yaml

BLOCK = "pact"


def take_overrides(arguments: Sequence[str]) -> tuple[dict[str, Any] | None, list[str]]:
    """The settings among the arguments as blocks, values read as YAML, and the other arguments. Later ones win.

    The settings are None where no argument is one.

    Raises:
        ConfigurationError: a value is missing or cannot be read, or a block is given a value and keys.
    """
    settings: dict[str, Any] | None = None
    others: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        name, separator, value = argument.partition("=")
        key = name.removeprefix("--")
        if not (key.startswith(f"{BLOCK}.") or name == f"--{BLOCK}"):
            others.append(argument)
            continue
        if not separator:
            if name == key or not waiting or waiting[0].startswith("--"):
                raise ConfigurationError(f"{argument}: write {argument}=value")
            value = waiting.pop(0)
        settings = _with(settings or {}, key.split(".")[1:], _read(name, value), name)
    return settings, others


def _read(name: str, value: str) -> Any:
    try:
        return parse_yaml(value)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {value!r} is neither a plain value nor JSON: {error}") from None


def _with(settings: dict[str, Any], steps: Sequence[str], value: Any, name: str) -> dict[str, Any]:
    place: Any = settings
    for step in steps[:-1]:
        place = place.get(step, {}) if isinstance(place, dict) else place
    if not isinstance(place, dict):
        raise ConfigurationError(f"{name}: {BLOCK}.{'.'.join(steps[:-1])} is given a value of its own too")
    for step in reversed(steps):
        value = {step: value}
    if not isinstance(value, dict):
        raise ConfigurationError(f"{name}: expected a block of keys, found {value!r:.80}")
    return merged(settings, value)
