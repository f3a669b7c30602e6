"""What the TRL integration registers. Imports nothing heavy: it is loaded by every ``pact`` command."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from pact_plugins.frameworks import Framework
from pact_plugins.hookspecs import hookimpl


@hookimpl
def register_frameworks(register: Callable[[Framework], None]) -> None:
    register(Framework("trl", "TRL's `trl sft` script: CONFIG.yaml with a pact: block", _train))


@hookimpl
def register_commands(cli: click.Group) -> None:
    from pact_trl.cli import bench, demo
    from pact_trl.compare.cli import compare

    for command in (demo, bench, compare):
        cli.add_command(command)


def _train(arguments: Sequence[str]) -> int:
    from pact_trl.training import train

    return train(arguments)
