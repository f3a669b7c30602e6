"""What the TRL integration registers. Imports nothing heavy: it is loaded by every ``pact`` command."""

from __future__ import annotations

import click

from pact_plugins.hookspecs import hookimpl


@hookimpl
def register_commands(cli: click.Group) -> None:
    from pact_trl.cli import demo

    cli.add_command(demo)
