"""``pact enable``, ``pact disable`` and ``pact doctor``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table


@click.command()
def enable() -> None:
    """Make the short names work in the frameworks' own commands (one .pth line in this environment)."""
    from pact_plugins.activation import line
    from pact_plugins.activation.targets import registered_targets
    from pact_plugins.errors import ActivationError

    file, is_new = line.write(registered_targets())
    if not line.works_at_start():
        raise ActivationError(
            f"{file} is written, but {sys.executable} does not act on it: is the package importable when Python "
            "starts? `pact doctor` shows more, `pact disable` removes the file"
        )
    click.echo(f"{'enabled' if is_new else 'already enabled'}: {file}")


@click.command()
def disable() -> None:
    """Remove the line that `pact enable` wrote."""
    from pact_plugins.activation import line

    removed = line.remove()
    for file in removed:
        click.echo(f"disabled: removed {file}")
    if not removed:
        click.echo("was not enabled")


@click.command()
def doctor() -> None:
    """Show whether the short names are enabled, where, and for which of the installed frameworks."""
    from rich.console import Console

    from pact_plugins.activation import line
    from pact_plugins.activation.hook import SWITCH_OFF
    from pact_plugins.activation.targets import registered_targets

    files = line.written_in()
    works = bool(files) and line.works_at_start()
    click.echo(f"python    {sys.executable}")
    click.echo(f"enabled   {', '.join(map(str, files)) if files else 'no (pact enable)'}")
    if not all(line.is_current(file, registered_targets()) for file in files):
        click.echo("outdated  a plugin was added or removed since, or the package updated: run `pact enable` again")
    if files:
        click.echo(f"at start  {'the hook is installed' if works else 'NOT WORKING: the package cannot be imported'}")
    if os.environ.get(SWITCH_OFF):
        click.echo(f"{SWITCH_OFF}={os.environ[SWITCH_OFF]} is set: the hook stays out of processes started from here")
    Console().print(_frameworks(enabled=works))
    Console().print(_versions())
    sys.exit(1 if files and not works else 0)


def _versions() -> Table:
    from rich.table import Table

    from pact_plugins.compatibility import compatibility_of, known_versions

    table = Table()
    for column in ("package", "version", "with this package"):
        table.add_column(column, overflow="fold")
    for name in known_versions():
        found = compatibility_of(name)
        if found is not None:
            table.add_row(name, found.version, found.verdict)
    return table


def _frameworks(*, enabled: bool) -> Table:
    from rich.table import Table

    from pact_plugins.activation.inventory import inventory

    table = Table()
    for column in ("framework", "version", "hook", "short name"):
        table.add_column(column, overflow="fold")
    for row in inventory():
        state = row.problem or ("works" if enabled else "after pact enable")
        if row.version is None:
            state = "not installed"
        elif row.module is None:
            state = "needs no hook"
        table.add_row(row.framework, row.version or "-", row.module or "-", f"{row.short_name} ({state})")
    return table
