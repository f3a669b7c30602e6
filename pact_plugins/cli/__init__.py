"""The ``pact`` command."""

from pact_plugins.cli.main import cli, main

__all__ = ["cli", "main"]
