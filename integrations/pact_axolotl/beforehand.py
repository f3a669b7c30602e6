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
    _check(file, _read(file), added=True)


def check_as_written(file: Path) -> None:
    """Check a YAML as the stock ``axolotl train`` will run it: what does not ask for PACT is Axolotl's own matter.

    Raises:
        ConfigurationError: a setting that goes wrong with PACT; the message names file and setting.
    """
    try:
        settings = _read(file)
    except (ConfigurationError, OSError):
        return  # Axolotl says what it thinks of it
    _check(file, settings, added=False)


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


def _check(file: Path, settings: dict[str, Any], *, added: bool) -> None:
    try:
        _check_settings(settings, added=added)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from None


def _check_settings(settings: dict[str, Any], *, added: bool) -> None:
    """Of a command that adds the plugin where the YAML does not list it, or of one that does not."""
    from pact_axolotl.settings import BLOCK, PLUGIN, check_block, is_ours, plugin_names, refuse_unlisted
    from pact_plugins.cli.options import named_files_exist

    for key in map(str, settings):
        if key != BLOCK and key.casefold().startswith(BLOCK):
            raise ConfigurationError(f"{key}: unknown key, which Axolotl would ignore; did you mean 'pact'?")
    names = plugin_names(settings)
    listed = any(map(is_ours, names))
    if not (listed or added):
        refuse_unlisted(settings)
        return
    config = check_block(settings if listed else {**settings, "plugins": [*names, PLUGIN]})
    named_files_exist(config, BLOCK)
