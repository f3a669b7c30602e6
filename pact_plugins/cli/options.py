"""``PACTConfig`` as command-line options: one option a key, derived from the schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from pact_plugins.config import PACTConfig


def config_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option for each named key of ``PACTConfig``; unset ones stay None: defaults live in the schema."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            description = PACTConfig.model_fields[name].description
            default = PACTConfig.model_fields[name].get_default(call_default_factory=True)
            shown = "" if default is None else f" [default: {default}]"
            command = click.option(f"--{name.replace('_', '-')}", name, default=None, help=f"{description}{shown}")(
                command
            )
        return command

    return decorate


def config_from(values: dict[str, Any]) -> PACTConfig:
    """The configuration of the options that were given.

    Raises:
        ConfigurationError: names the option's key.
    """
    return PACTConfig.from_mapping({key: value for key, value in values.items() if value is not None}, source="options")
