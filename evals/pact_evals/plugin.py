"""What this package adds through the hooks: judges and commands. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pact_plugins.contracts import ShortName
from pact_plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    import os

    import click

    from pact_plugins.contracts import Judge


@hookimpl
def register_short_names(register: Callable[[ShortName], None]) -> None:
    """The `pact_*` tasks in the stock `lm_eval` command."""
    usage = "lm_eval --tasks pact_refusal"
    register(ShortName("lm_eval", usage, {"lm_eval.tasks": "pact_evals.activation:install"}))


@hookimpl
def register_task_folders(register: Callable[[str | os.PathLike[str]], None]) -> None:
    """The shared tasks."""
    from pact_evals import tasks_path

    register(tasks_path())


@hookimpl
def register_judges(register: Callable[[str, Callable[..., Judge]], None]) -> None:
    """The built-in judges."""
    from pact_evals.judges.builtin import BUILT_IN

    for name, factory in BUILT_IN.items():
        register(name, factory)


@hookimpl
def register_commands(cli: click.Group) -> None:
    """`pact eval`, `pact check`, `pact judge`, `pact report`, `pact card` and `pact tasks-path`."""
    from pact_evals.commands import COMMANDS

    for command in COMMANDS:
        cli.add_command(command)
