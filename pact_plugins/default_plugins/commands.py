"""The commands that need no framework."""

from __future__ import annotations

import click

from pact_plugins.hookspecs import hookimpl


@hookimpl(tryfirst=True)
def register_commands(cli: click.Group) -> None:
    from pact_plugins.cli import (
        activation,
        audit,
        cache,
        configuration,
        examples,
        new_plugin,
        plugins,
        safety_tokens,
        verify,
    )

    for command in (
        safety_tokens.calibrate,
        safety_tokens.inspect,
        audit.audit,
        cache.cache,
        configuration.config,
        examples.examples,
        plugins.plugins,
        plugins.train,
        new_plugin.new_plugin,
        verify.verify,
        activation.enable,
        activation.disable,
        activation.doctor,
    ):
        cli.add_command(command)
