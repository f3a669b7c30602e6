"""``pact plugins`` and ``pact train``."""

from __future__ import annotations

import sys

import click


@click.command()
def plugins() -> None:
    """List what is loaded: name, distribution, hooks."""
    from rich.console import Console
    from rich.table import Table

    from pact_plugins.plugins import loaded_plugins

    table = Table()
    for column in ("plugin", "distribution", "version", "hooks"):
        table.add_column(column, overflow="fold")
    for plugin in loaded_plugins():
        table.add_row(plugin.name, plugin.distribution, plugin.version, ", ".join(plugin.hooks))
    Console().print(table)


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []})
@click.argument("framework", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def train(framework: str | None, arguments: tuple[str, ...]) -> None:
    """Start a FRAMEWORK's own training with PACT; the remaining ARGUMENTS are the framework's."""
    from pact_plugins.errors import ConfigurationError
    from pact_plugins.plugins import frameworks

    known = frameworks()
    if framework in (None, "-h", "--help"):
        click.echo("Usage: pact train FRAMEWORK [ARGUMENTS]...\n\nFrameworks:")
        for entry in known.values():
            click.echo(f"  {entry.name:14s} {entry.description}")
        return
    if framework not in known:
        raise ConfigurationError(f"unknown framework {framework!r}; available: {', '.join(known) or 'none'}")
    sys.exit(known[framework].train(arguments))
