"""What this package adds through the hooks: judges and commands. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pact_plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def register_judges(register: Callable[[str, Callable[..., Any]], None]) -> None:
    """The built-in judges."""
    from pact_evals.judges.builtin import BUILT_IN

    for name, factory in BUILT_IN.items():
        register(name, factory)


@hookimpl
def register_commands(cli: click.Group) -> None:
    """`pact eval`, `pact judge`, `pact report` and `pact tasks-path`."""
    from pact_evals.commands import COMMANDS

    for command in COMMANDS:
        cli.add_command(command)
