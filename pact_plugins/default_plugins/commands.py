"""The commands that need no framework."""

from __future__ import annotations

import click

from pact_plugins.hookspecs import hookimpl


@hookimpl
def register_commands(cli: click.Group) -> None:
    from pact_plugins.cli import activation, audit, configuration, plugins, safety_tokens
    from pact_plugins.tiny_world.cli import tiny_world

    for command in (
        safety_tokens.calibrate,
        safety_tokens.inspect,
        audit.audit,
        configuration.config,
        plugins.plugins,
        plugins.train,
        activation.enable,
        activation.disable,
        activation.doctor,
        tiny_world,
    ):
        cli.add_command(command)
