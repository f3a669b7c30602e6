"""What a terminal shows of models, data and files: text, never markup or escape sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pact_plugins.visible import visible

if TYPE_CHECKING:
    from rich.text import Text


def echo(text: object, *, err: bool = False) -> None:
    """Print one line."""
    click.echo(visible(str(text)), err=err)


def as_text(text: object) -> Text:
    """For a cell or a heading of rich's, which would read ``[red]`` as markup."""
    from rich.text import Text

    return Text(visible(str(text)))
