"""``axolotl train`` with PACT, without anything written into the environment."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Sequence
from typing import Any

import click

from pact_axolotl.preflight import check_arguments
from pact_plugins.errors import ConfigurationError

WORKER = "pact_axolotl.worker"
_STOCK_WORKER = "axolotl.cli.train"


def train(arguments: Sequence[str]) -> int:
    """Run ``axolotl train`` in this process; the processes that its launcher starts run our worker instead of its own.

    Args:
        arguments: those of ``axolotl train``.

    Raises:
        ConfigurationError: Axolotl is not installed, ``--cloud``, which trains where we cannot reach, or a YAML that
            cannot train as it stands.
    """
    if any(argument.partition("=")[0] == "--cloud" for argument in arguments):
        raise ConfigurationError(
            "--cloud: list the plugin in the YAML (plugins: [pact_axolotl.PACTPlugin]) and use axolotl train"
        )
    check_arguments(arguments)
    try:
        from axolotl.cli.main import cli
        from axolotl.cli.utils import train as launching
    except ImportError as error:
        raise ConfigurationError(
            f"Axolotl cannot be imported ({error}): pip install 'pact-plugins[axolotl]'"
        ) from error
    use_short_name()
    build_command = launching.build_command

    def build_command_with_worker(command: list[str], options: dict[str, Any]) -> list[str]:
        return build_command([WORKER if part == _STOCK_WORKER else part for part in command], options)

    launching.build_command = build_command_with_worker
    try:
        cli.commands["train"].main(args=list(arguments), prog_name="axolotl pact train", standalone_mode=False)
    except subprocess.CalledProcessError as error:
        # The worker has said why; a second traceback, of having started it, would hide that.
        click.echo(
            f"Error: the training process ended with status {error.returncode}; the cause stands above", err=True
        )
        return 2 if error.returncode == 2 else 1
    finally:
        launching.build_command = build_command
    return 0


def use_short_name() -> None:
    """This process reads ``plugins: pact``, and adds the plugin where the YAML does not list it."""
    from pact_axolotl import short_name

    short_name.install_and_add(importlib.import_module("axolotl.cli.config"))
