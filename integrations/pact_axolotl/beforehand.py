"""What can be known of a configuration before Axolotl is imported and a worker started, which takes a minute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pact_plugins.errors import ConfigurationError


def check_arguments(arguments: Sequence[str]) -> None:
    """Check the YAML that the arguments of ``axolotl train`` name, as ``axolotl pact train`` will run it.

    What is overridden on the command line, and Axolotl's own keys, are checked in the worker as before.

    Raises:
        ConfigurationError: no such file, no YAML, or a setting that goes wrong with PACT; the message names it.
    """
    named = [argument for argument in arguments[:1] if not argument.startswith("-") and "://" not in argument]
    if not named:
        return
    file = Path(named[0])
    settings = _read(file)
    try:
        _check(settings)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from None


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ConfigurationError(f"{file}: no such file; give Axolotl's YAML")
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise ConfigurationError(f"{file} holds no mapping of settings")
    return settings


def _check(settings: dict[str, Any]) -> None:
    from pact_axolotl.settings import BLOCK, PLUGIN, check_block, is_ours, plugin_names

    for key in map(str, settings):
        if key != BLOCK and key.casefold().startswith(BLOCK):
            raise ConfigurationError(f"{key}: unknown key, which Axolotl would ignore; did you mean 'pact'?")
    names = plugin_names(settings)
    # The command adds the plugin where the YAML does not list it.
    added = [] if any(map(is_ours, names)) else [PLUGIN]
    check_block({**settings, "plugins": [*names, *added]})
