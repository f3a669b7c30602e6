"""``pact plugins`` and ``pact train``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="for machines")
def plugins(as_json: bool) -> None:
    """List what is loaded: name, distribution, hooks.

    \b
    Example: pact plugins --json
    """
    from pact_plugins.plugins import loaded_plugins
    from pact_plugins.report.terminal import print_table

    found = loaded_plugins()
    if as_json:
        click.echo(json.dumps([asdict(plugin) for plugin in found], indent=1))
        return
    rows = [(plugin.name, plugin.distribution, plugin.version, ", ".join(plugin.hooks)) for plugin in found]
    print_table(("plugin", "distribution", "version", "hooks"), rows, prose=("hooks",))


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    options_metavar="",
)
@click.argument("framework", required=False, metavar="FRAMEWORK")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def train(framework: str | None, arguments: tuple[str, ...]) -> None:
    """Start a framework's own training with PACT.

    FRAMEWORK is trl, axolotl, llamafactory or a plugin's; the remaining ARGUMENTS are the framework's own.

    \b
    Examples:
      pact train trl config.yaml pact.term.weight=1.0
      pact train axolotl config.yml
      pact train llamafactory config.yaml learning_rate=1e-4
    """
    from pact_plugins.errors import ConfigurationError
    from pact_plugins.plugins import frameworks

    known = frameworks()
    if framework in (None, "-h", "--help"):
        click.echo(click.get_current_context().get_help() + "\n\nFrameworks:")
        for entry in known.values():
            click.echo(f"  {entry.name:14s} {entry.description}")
        return
    if framework not in known:
        raise ConfigurationError(f"unknown framework {framework!r}; available: {', '.join(known) or 'none'}")
    sys.exit(known[framework].train(arguments))
