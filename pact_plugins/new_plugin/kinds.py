"""What a new plugin can hold; each kind has a folder of templates of its name."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import click

from pact_plugins import plugins


def _commands() -> Collection[str]:
    group = click.Group()
    plugins.get_plugin_manager().hook.register_commands(cli=group)
    return group.commands


def _none() -> Collection[str]:
    return ()


@dataclass(frozen=True)
class Kind:
    """One kind of thing.

    Attributes:
        name: as written after ``--kind``, and in messages.
        hook: the function of ``pact_plugins.hookspecs`` that takes it.
        registered: the names that are taken already; asking loads what the plugins need, torch for some.
    """

    name: str
    hook: str
    registered: Callable[[], Collection[str]]

    @property
    def module(self) -> str:
        """The name in Python: of the templates' folder, and of the module made from them."""
        return self.name.replace("-", "_")


# No preset, which is three lines, and no short name, which needs a framework's own module to teach: see docs/hooks.md.
KINDS = {
    kind.name: kind
    for kind in (
        Kind("objective", "register_objectives", plugins.objectives),
        Kind("token-scorer", "register_token_scorers", plugins.token_scorers),
        Kind("reference", "register_references", plugins.references),
        Kind("part", "register_parts", plugins.parts),
        Kind("framework", "register_frameworks", plugins.frameworks),
        Kind("tasks", "register_task_folders", _none),
        Kind("judge", "register_judges", plugins.judges),
        Kind("method", "register_methods", plugins.methods),
        Kind("command", "register_commands", _commands),
    )
}
DEFAULT_KIND = "objective"
