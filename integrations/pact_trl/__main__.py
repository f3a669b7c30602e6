"""``python -m pact_trl CONFIG.yaml``, also behind ``accelerate launch -m`` and ``torchrun -m``."""

import sys

import click

from pact_plugins.errors import PACTError
from pact_trl.training import train

if __name__ == "__main__":
    try:
        sys.exit(train(sys.argv[1:]))
    except PACTError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
