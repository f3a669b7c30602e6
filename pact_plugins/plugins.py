"""The plugin manager: built-ins first, then every installed package with an entry point of the group ``pact``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from pact_plugins import hookspecs
from pact_plugins.errors import PACTError
from pact_plugins.frameworks import Framework
from pact_plugins.methods import Method
from pact_plugins.objective import Objective
from pact_plugins.safety_tokens.scoring import TokenScorer

ENTRY_POINT_GROUP = "pact"
DEFAULT_PLUGINS = (
    "pact_plugins.default_plugins.objectives",
    "pact_plugins.default_plugins.token_scorers",
    "pact_plugins.default_plugins.references",
    "pact_plugins.default_plugins.methods",
    "pact_plugins.default_plugins.commands",
)


@lru_cache(maxsize=1)
def get_plugin_manager() -> pluggy.PluginManager:
    """The one plugin manager of this process, loaded on first use.

    Raises:
        PACTError: an installed plugin cannot be imported, shares its name with another, or implements a hook that
            does not exist. A plugin that fails must not be skipped in silence: it may hold the objective that the user
            relies on.
    """
    manager = pluggy.PluginManager("pact")
    manager.add_hookspecs(hookspecs)
    for name in DEFAULT_PLUGINS:
        manager.register(importlib.import_module(name), name=name)
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        _load(manager, entry_point)
    return manager


def _load(manager: pluggy.PluginManager, entry_point: EntryPoint) -> None:
    package = entry_point.dist.name if entry_point.dist else "unknown"
    if manager.has_plugin(entry_point.name):
        raise PACTError(
            f"two plugins are called {entry_point.name!r}, one of them from the package {package}; uninstall one"
        )
    try:
        manager.load_setuptools_entrypoints(ENTRY_POINT_GROUP, name=entry_point.name)
        manager.check_pending()
    except Exception as error:
        raise PACTError(
            f"the plugin {entry_point.name!r} of the package {package} cannot be loaded: {error}. "
            "Repair or uninstall the package."
        ) from error


class _Registry(dict[str, Any]):
    """Name to thing; a second registration of the same name is an error that names it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def add(self, name: str, thing: Any) -> None:
        if name in self:
            raise PACTError(f"two plugins register the {self.kind} {name!r}; uninstall one or rename it")
        self[name] = thing


def _collect(kind: str, hook: str, *, named: bool) -> dict[str, Any]:
    registry = _Registry(kind)
    register: Callable[..., None] = registry.add if named else lambda thing: registry.add(thing.name, thing)
    getattr(get_plugin_manager().hook, hook)(register=register)
    return registry


def objectives() -> dict[str, Objective]:
    """Every registered objective by name."""
    return _collect("objective", "register_objectives", named=False)


def token_scorers() -> dict[str, TokenScorer]:
    """Every registered token scorer by name."""
    return _collect("token scorer", "register_token_scorers", named=False)


def references() -> dict[str, Any]:
    """Every registered reference builder by name."""
    return _collect("reference", "register_references", named=True)


def frameworks() -> dict[str, Framework]:
    """Every registered framework by name."""
    return _collect("framework", "register_frameworks", named=False)


def judges() -> dict[str, Callable[..., Any]]:
    """Every registered judge factory by name."""
    return _collect("judge", "register_judges", named=True)


def methods() -> dict[str, Method]:
    """Every registered method of ``pact compare`` by name."""
    return _collect("method", "register_methods", named=False)


@dataclass(frozen=True)
class LoadedPlugin:
    """One line of ``pact plugins``."""

    name: str
    distribution: str
    version: str
    hooks: tuple[str, ...]


def loaded_plugins() -> list[LoadedPlugin]:
    """Everything that is loaded, from which distribution, with which hooks."""
    manager = get_plugin_manager()
    distributions = {id(plugin): dist for plugin, dist in manager.list_plugin_distinfo()}
    rows = []
    for name, plugin in manager.list_name_plugin():
        distribution = distributions.get(id(plugin))
        rows.append(
            LoadedPlugin(
                name=name,
                distribution=distribution.project_name if distribution else "pact-plugins (built in)",
                version=distribution.version if distribution else "",
                hooks=tuple(sorted(caller.name for caller in manager.get_hookcallers(plugin) or ())),
            )
        )
    return sorted(rows, key=lambda row: (row.distribution != "pact-plugins (built in)", row.name))
