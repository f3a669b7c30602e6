"""``axolotl pact``: our sub-commands on Axolotl's command line."""

from __future__ import annotations

import sys
from typing import Any

import click


class _Verbatim(click.Command):
    """Hands its arguments on as they were typed, ``--`` and ``--help`` included."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return ctx.args


@click.group()
def pact() -> None:
    """PACT: keep an aligned model's refusals while you fine-tune it."""


def _run(function: Any, arguments: list[str]) -> None:
    from pact_plugins.errors import PACTError

    try:
        sys.exit(function(arguments))
    except PACTError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)


@pact.command(cls=_Verbatim, short_help="`axolotl train` with PACT (plugins: pact needs no `pact enable`)")
@click.pass_context
def train(ctx: click.Context) -> None:
    """`axolotl train` with PACT; arguments and options are its own."""
    from pact_axolotl.launch import train as run

    _run(run, ctx.args)


@pact.command("eval", cls=_Verbatim, short_help="`pact eval` on the base model and the output of CONFIG")
@click.pass_context
def evaluate(ctx: click.Context) -> None:
    """Evaluate the model before and after the training of CONFIG; further options are those of `pact eval`."""
    from pact_axolotl.evaluation import evaluate as run

    _run(run, ctx.args)
