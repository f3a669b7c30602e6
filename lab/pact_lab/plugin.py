"""What the laboratory registers. Imports nothing heavy: it is loaded by every ``pact`` command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pact_plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    import os

    from pact_plugins.contracts import Method, Objective


@hookimpl
def register_commands(cli: click.Group) -> None:
    from pact_lab.cli import bench, demo
    from pact_lab.compare.cli import compare
    from pact_lab.frameworks.cli import export_command, measure_command
    from pact_lab.natural_world.cli import natural_world
    from pact_lab.tiny_world.cli import tiny_world

    for command in (demo, bench, compare, tiny_world, natural_world):
        cli.add_command(command)
    for command in (export_command, measure_command):
        natural_world.add_command(command)


@hookimpl
def register_task_folders(register: Callable[[str | os.PathLike[str]], None]) -> None:
    register(Path(__file__).parent / "tasks")


@hookimpl
def register_objectives(register: Callable[[Objective], None]) -> None:
    from pact_lab.baselines import BASELINE_OBJECTIVES

    for objective in BASELINE_OBJECTIVES:
        register(objective)


@hookimpl
def register_methods(register: Callable[[Method], None]) -> None:
    from pact_lab.methods import METHODS

    for method in METHODS:
        register(method)
