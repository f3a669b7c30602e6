"""Every extension point of the package, on one screen.

A plugin is a module (or object) with functions marked ``@hookimpl``, named by an entry point of the group ``pact``:

    [project.entry-points.pact]
    my_plugin = "my_package.my_module"

What ships with this package registers through the same hooks. ``pact plugins`` lists what is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pluggy import HookimplMarker, HookspecMarker

if TYPE_CHECKING:
    import os

    import click

    from pact_plugins.contracts import (
        Framework,
        Judge,
        Method,
        Objective,
        PartSpec,
        Preset,
        ReferenceBuilder,
        ShortName,
        TokenScorer,
    )

hookspec = HookspecMarker("pact")
hookimpl = HookimplMarker("pact")


@hookspec
def register_objectives(register: Callable[[Objective], None]) -> None:
    """Offer divergences for ``term.objective``; call ``register(Objective(name, compute, ...))``."""


@hookspec
def register_token_scorers(register: Callable[[TokenScorer], None]) -> None:
    """Offer ways to score safety tokens for ``safety_tokens.scorer``; call ``register(TokenScorer(name, score))``."""


@hookspec
def register_references(register: Callable[[str, ReferenceBuilder], None]) -> None:
    """Offer sources of reference logits for ``reference.kind``; call ``register(name, builder)``."""


@hookspec
def register_parts(register: Callable[[PartSpec], None]) -> None:
    """Offer parts of the loss, each with a block of its own; call ``register(PartSpec(name, settings, build))``."""


@hookspec
def register_presets(register: Callable[[Preset], None]) -> None:
    """Offer sets of defaults for ``preset:``; call ``register(Preset(name, description, settings))``."""


@hookspec
def register_frameworks(register: Callable[[Framework], None]) -> None:
    """Offer what ``pact train FRAMEWORK`` can launch; call ``register(Framework(name, description, train))``."""


@hookspec
def register_short_names(register: Callable[[ShortName], None]) -> None:
    """Offer what a framework's own commands take after ``pact enable``; call ``register(ShortName(...))``."""


@hookspec
def register_task_folders(register: Callable[[str | os.PathLike[str]], None]) -> None:
    """Offer folders of lm-eval task files for ``pact eval --tasks``; call ``register(path)``."""


@hookspec
def register_judges(register: Callable[[str, Callable[..., Judge]], None]) -> None:
    """Offer judges of responses for ``--judge``; call ``register(name, factory)``, a ``Judge`` class for instance."""


@hookspec
def register_methods(register: Callable[[Method], None]) -> None:
    """Offer ways to fine-tune for ``pact compare --methods``; call ``register(Method(name, description, ...))``."""


@hookspec
def register_commands(cli: click.Group) -> None:
    """Add commands to the ``pact`` command line; decorate them with ``@cli.command()``."""
