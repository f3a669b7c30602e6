"""``python -m pact_axolotl.worker CONFIG``: Axolotl's training process, started by ``axolotl pact train``."""

from __future__ import annotations

import runpy
import sys

import click

from pact_axolotl.launch import use_short_name
from pact_plugins.errors import PACTError
from pact_plugins.messages import finish_bars

if __name__ == "__main__":
    try:
        use_short_name()
        runpy.run_module("axolotl.cli.train", run_name="__main__", alter_sys=True)
    except PACTError as error:
        finish_bars()
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
