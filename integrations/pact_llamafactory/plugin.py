"""What the LLaMA-Factory integration registers. Imports nothing heavy: it is loaded by every ``pact`` command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import click

from pact_llamafactory.targets import TARGETS
from pact_plugins.contracts import Framework, ShortName
from pact_plugins.hookspecs import hookimpl


def _train(arguments: Sequence[str]) -> int:
    from pact_llamafactory.launcher import launch_training

    return launch_training(arguments)


@hookimpl
def register_short_names(register: Callable[[ShortName], None]) -> None:
    register(ShortName("llamafactory", "stage: pact", TARGETS))


@hookimpl
def register_frameworks(register: Callable[[Framework], None]) -> None:
    register(Framework("llamafactory", "LLaMA-Factory: a YAML with stage: pact, then key=value overrides", _train))


@hookimpl
def register_commands(cli: click.Group) -> None:
    cli.add_command(llamafactory)


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def llamafactory(arguments: tuple[str, ...]) -> None:
    """Run any llamafactory-cli command with PACT in it.

    \b
    Examples:
      pact llamafactory webui
      pact llamafactory export config.yaml
    """
    from pact_llamafactory.launcher import launch

    sys.exit(launch(arguments))
