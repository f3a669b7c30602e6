"""``PACTConfig`` as command-line options: one option a key, derived from the schema. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from pact_plugins.config import AUTO, PACTConfig
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import is_missing, no_such_folder

_MODELS = ("base_model_path", "reference_model_path")
_NO_FILES = ("cache_path",)
DTYPES = ("auto", "float32", "bfloat16", "float16")


def config_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option for each named key of ``PACTConfig``; unset ones stay None: defaults live in the schema."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            field = PACTConfig.model_fields[name]
            default = field.get_default(call_default_factory=True)
            shown = "" if default is None else f"  [default: {default}]"
            command = click.option(
                f"--{name.replace('_', '-')}",
                name,
                default=None,
                type=_type_of(field.annotation),
                help=f"{field.description}{shown}",
            )(command)
        return command

    return decorate


def _type_of(annotation: Any) -> Any:
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    plain = next((kind for kind in get_args(annotation) if kind is not type(None)), annotation)
    return {bool: click.BOOL, int: click.INT, float: click.FLOAT}.get(plain, click.STRING)


def config_from(values: dict[str, Any]) -> PACTConfig:
    """The configuration of the options that were given.

    Raises:
        ConfigurationError: names the option's key.
    """
    return PACTConfig.from_mapping({key: value for key, value in values.items() if value is not None}, source="options")


def paths_exist(files: Mapping[str, str | Path | None]) -> None:
    """Before torch is imported, which takes seconds: every file is there.

    Args:
        files: the setting that names it, and the path; None where there is none.

    Raises:
        ConfigurationError: names the setting and the file.
    """
    for key, file in files.items():
        if file is not None and not Path(file).expanduser().is_file():
            raise ConfigurationError(f"{key}: no such file: {file}")


def a_model(name: str | None, key: str) -> None:
    """Before torch is imported: a model that can only be a path is there.

    Raises:
        ConfigurationError: names the argument and the path.
    """
    if name is not None and is_missing(name):
        raise ConfigurationError(f"{key}: {name} cannot be loaded: {no_such_folder(name)}")


def named_files_exist(config: PACTConfig, source: str) -> None:
    """Before a model is loaded: every file and folder that a configuration names is there.

    Args:
        source: how errors call the configuration.

    Raises:
        ConfigurationError: names the key and the path.
    """
    files = {key: value for key, value in config if key.endswith("_path") and key not in _NO_FILES}
    if config.safety_tokens != AUTO:
        files["safety_tokens"] = config.safety_tokens
    if config.drift_watch is not None:
        files["drift_watch.prompts_path"] = config.drift_watch.prompts_path
    for key in _MODELS:
        a_model(files.pop(key), f"{source}.{key}")
    paths_exist({f"{source}.{key}": file for key, file in files.items()})
