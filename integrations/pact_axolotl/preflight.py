"""What can be known of a configuration before Axolotl is imported and a worker started, which takes a minute."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pact_plugins.errors import ConfigurationError
from pact_plugins.files import is_missing, read_settings

_USAGE = "give Axolotl's YAML"


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
    overridden = {argument.lstrip("-").partition("=")[0].replace("-", "_") for argument in arguments[1:]}
    _check(file, read_settings(file, _USAGE), overridden, added=True)


def check_as_written(file: Path, overridden: Collection[str] = ()) -> None:
    """Check a YAML as the stock ``axolotl train`` will run it: what does not ask for PACT is Axolotl's own matter.

    Args:
        overridden: keys that the command line sets as well.

    Raises:
        ConfigurationError: a setting that goes wrong with PACT; the message names file and setting.
    """
    try:
        settings = read_settings(file, _USAGE)
    except ConfigurationError:
        return  # Axolotl says what it thinks of it
    _check(file, settings, overridden, added=False)


def _check(file: Path, settings: dict[str, Any], overridden: Collection[str], *, added: bool) -> None:
    try:
        if _check_settings(settings, added=added):
            _check_places({key: value for key, value in settings.items() if key not in overridden}, overridden)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from None


def _check_settings(settings: dict[str, Any], *, added: bool) -> bool:
    """Of a command that adds the plugin where the YAML does not list it, or of one that does not.

    Returns:
        whether PACT is asked for.
    """
    from pact_axolotl.settings import BLOCK, PLUGIN, check_block, is_ours, plugin_names, refuse_unlisted
    from pact_plugins.cli.options import named_files_exist

    for key in map(str, settings):
        if key != BLOCK and key.casefold().startswith(BLOCK):
            raise ConfigurationError(f"{key}: unknown key, which Axolotl would ignore; did you mean 'pact'?")
    names = plugin_names(settings)
    listed = any(map(is_ours, names))
    if not (listed or added):
        refuse_unlisted(settings)
        return False
    config = check_block(settings if listed else {**settings, "plugins": [*names, PLUGIN]})
    named_files_exist(config, BLOCK)
    return True


def _check_places(settings: dict[str, Any], overridden: Collection[str]) -> None:
    """The model is named, and what can only be a path leads somewhere."""
    from pact_plugins.cli.options import a_model

    model = settings.get("base_model")
    if not model and "base_model" not in overridden:
        raise ConfigurationError("base_model: is not set; name the aligned model that training starts from")
    a_model(None if model is None else str(model), "base_model")
    datasets = settings.get("datasets")
    for position, dataset in enumerate(datasets if isinstance(datasets, list) else ()):
        path = dataset.get("path") if isinstance(dataset, dict) else None
        if path and is_missing(str(path)):
            raise ConfigurationError(f"datasets.{position}.path: no such file or folder: {path}")
