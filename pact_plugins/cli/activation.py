"""``pact enable``, ``pact disable`` and ``pact doctor``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click


@click.command()
def enable() -> None:
    """Make the short names work in the frameworks' own commands.

    Writes one .pth line into this environment.

    \b
    Example: pact enable && axolotl train config.yml
    """
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
    """Remove the line that `pact enable` wrote.

    \b
    Example: pact disable
    """
    from pact_plugins.activation import line

    removed = line.remove()
    for file in removed:
        click.echo(f"disabled: removed {file}")
    if not removed:
        click.echo("was not enabled")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="for machines")
def doctor(as_json: bool) -> None:
    """Show what is enabled and which versions were tested.

    Whether the short names work, for which of the installed frameworks. Exit status 1 where they should and do not.

    \b
    Example: pact doctor
    """
    from pact_plugins.activation import line
    from pact_plugins.activation.hook import SWITCH_OFF
    from pact_plugins.activation.targets import registered_targets

    files = line.written_in()
    works = bool(files) and line.works_at_start()
    if as_json:
        _print_json(files, works)
        sys.exit(1 if files and not works else 0)
    click.echo(f"python    {sys.executable}")
    where = ", ".join(map(str, files)) or "no; short names in the stock commands need: pact enable"
    click.echo(f"enabled   {where}")
    if not all(line.is_current(file, registered_targets()) for file in files):
        click.echo("outdated  a plugin was added or removed since, or the package updated: run `pact enable` again")
    if files:
        click.echo(f"at start  {'the hook is installed' if works else 'NOT WORKING: the package cannot be imported'}")
    if os.environ.get(SWITCH_OFF):
        click.echo(f"{SWITCH_OFF}={os.environ[SWITCH_OFF]} is set: the hook stays out of processes started from here")
    from pact_plugins.report.terminal import print_table

    print_table(("framework", "version", "hook", "short name"), _frameworks(enabled=works))
    click.echo()
    print_table(("package", "version", "with this package"), _versions())
    sys.exit(1 if files and not works else 0)


def _print_json(files: Sequence[Path], works: bool) -> None:
    from pact_plugins.activation.inventory import inventory

    found: dict[str, Any] = {
        "python": sys.executable,
        "enabled_in": [str(file) for file in files],
        "works": works,
        "frameworks": [asdict(row) for row in inventory()],
        "versions": [dict(zip(("package", "version", "verdict"), row, strict=True)) for row in _versions()],
    }
    click.echo(json.dumps(found, indent=1))


def _versions() -> list[tuple[str, str, str]]:
    from pact_plugins.compatibility import compatibility_of, known_versions

    every = ((name, compatibility_of(name)) for name in known_versions())
    return [(name, found.version, found.verdict) for name, found in every if found is not None]


def _frameworks(*, enabled: bool) -> list[tuple[str, str, str, str]]:
    from pact_plugins.activation.inventory import inventory

    rows = []
    for row in inventory():
        state = row.problem or ("works" if enabled else "after pact enable")
        if row.version is None:
            state = "not installed"
        elif row.module is None:
            state = "needs no hook"
        rows.append((row.framework, row.version or "-", row.module or "-", f"{row.short_name} ({state})"))
    return rows
