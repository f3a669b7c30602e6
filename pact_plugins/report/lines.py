"""What a terminal shows of models, data and files: text, never markup or escape sequences."""

from __future__ import annotations

import click

from pact_plugins.visible import visible


def echo(text: object, *, err: bool = False) -> None:
    """Print one line."""
    click.echo(visible(str(text)), err=err)
