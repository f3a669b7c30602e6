"""``PACTConfig`` as command-line options: one option a key, derived from the schema. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from pact_plugins.config import PACTConfig
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import why_no_model
from pact_plugins.settings import Block

# Click takes no option for a name with a dot.
_DOT = "__"
DTYPES = ("auto", "float32", "bfloat16", "float16")


class _Output(click.Path):
    """A place to write to, looked at before anything is computed: what has taken hours should not be lost then."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(str(super().convert(value, param, ctx))).absolute()
        places = path.parents if self.file_okay else (path, *path.parents)
        existing = next(place for place in places if place.exists())
        if not existing.is_dir():
            self.fail(f"{existing} is a file; nothing can be written into it", param, ctx)
        if not os.access(existing, os.W_OK | os.X_OK):
            self.fail(f"{existing} may not be written to; name another place", param, ctx)
        return Path(value)


OUTPUT_FILE = _Output(dir_okay=False, path_type=Path)
OUTPUT_FOLDER = _Output(file_okay=False, path_type=Path)


def output_folder(default: str, what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option ``-o`` of a command that leaves a folder of ``what``, in ``default`` unless told otherwise."""
    return click.option("-o", "--output", type=OUTPUT_FOLDER, default=Path(default), show_default=True, help=what)


def config_options(**flags: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option for each named key of a block that all parts share; unset ones stay None.

    Args:
        flags: the option's name to the key, such as ``top_k="safety_tokens.top_k"``.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for flag, key in reversed(flags.items()):
            block, _, name = key.rpartition(".")
            field = (PACTConfig.shared_blocks()[block] if block else PACTConfig).model_fields[name]
            default = field.get_default(call_default_factory=True, validated_data={})
            shown = "" if default is None else f"  [default: {default}]"
            command = click.option(
                f"--{flag.replace('_', '-')}",
                key.replace(".", _DOT),
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


def config_from(values: Mapping[str, Any]) -> PACTConfig:
    """The configuration of the options that were given.

    Raises:
        ConfigurationError: names the option's key.
    """
    settings: dict[str, Any] = {}
    for name, value in values.items():
        block, _, key = name.rpartition(_DOT)
        if value is not None:
            (settings.setdefault(block, {}) if block else settings)[key] = value
    return PACTConfig.from_mapping(settings, source="options")


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
    """Before torch is imported: a path leads to a model's folder; any other name may be the hub's.

    Raises:
        ConfigurationError: names the argument and the path.
    """
    reason = None if name is None else why_no_model(name)
    if reason is not None:
        raise ConfigurationError(f"{key}: {name} cannot be loaded: {reason}")


def named_files_exist(config: PACTConfig, source: str) -> None:
    """Before a model is loaded: every file and folder that a configuration names is there.

    Args:
        source: how errors call the configuration.

    Raises:
        ConfigurationError: names the key and the path.
    """
    a_model(config.safety_tokens.base_model_path, f"{source}.safety_tokens.base_model_path")
    a_model(config.reference.path, f"{source}.reference.path")
    shared = {name: getattr(config, name) for name in type(config).model_fields}
    for block, settings in {**config.parts, **shared}.items():
        if isinstance(settings, Block):
            paths_exist({f"{source}.{block}.{key}": file for key, file in settings.files().items()})
