"""The plugin manager: built-ins first, then every installed package with an entry point of the group ``pact``."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from pact_plugins import contracts, hookspecs
from pact_plugins.errors import PACTError

if TYPE_CHECKING:
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

ENTRY_POINT_GROUP = "pact"
DEFAULT_PLUGINS = (
    "pact_plugins.default_plugins.presets",
    # Parts in the order in which their values are summed.
    "pact_plugins.term.plugin",
    "pact_plugins.row_gate.plugin",
    "pact_plugins.anchor.plugin",
    "pact_plugins.default_plugins.token_scorers",
    "pact_plugins.default_plugins.references",
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
    # Who registers later is called first.
    for name in reversed(DEFAULT_PLUGINS):
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


def _collect(kind: str, hook: str, contract: str) -> dict[str, Any]:
    """What is registered under a name of its own; refused by name where it is not of the kind."""
    registry = _Registry(kind)

    def register(thing: Any) -> None:
        expected = getattr(contracts, contract)
        if not isinstance(thing, expected):
            raise PACTError(_not_of_the_kind(hook, thing, f"a pact_plugins.contracts.{contract}"))
        registry.add(thing.name, thing)

    getattr(get_plugin_manager().hook, hook)(register=register)
    return registry


def _collect_builders(kind: str, hook: str, contract: str) -> dict[str, Callable[..., Any]]:
    """Factories under the names that they are registered with; a class must be of the kind, a function is called."""
    registry = _Registry(kind)

    def register(name: str, builder: Any) -> None:
        # A function is not looked into, so that names alone import no torch.
        wrong_class = isinstance(builder, type) and not issubclass(builder, getattr(contracts, contract))
        if wrong_class or not callable(builder) or not isinstance(name, str):
            wanted = f"a name and a subclass of pact_plugins.contracts.{contract}, or a function that makes one"
            raise PACTError(_not_of_the_kind(hook, builder, wanted))
        registry.add(name, builder)

    getattr(get_plugin_manager().hook, hook)(register=register)
    return registry


def _not_of_the_kind(hook: str, thing: Any, wanted: str) -> str:
    named = getattr(thing, "__qualname__", None) or repr(thing)
    home = getattr(thing, "__module__", type(thing).__module__)
    return f"{hook}: {named} of {home} is not what the hook takes ({wanted}); repair or uninstall the package"


def objectives() -> dict[str, Objective]:
    """Every registered objective by name."""
    return _collect("objective", "register_objectives", "Objective")


def token_scorers() -> dict[str, TokenScorer]:
    """Every registered token scorer by name."""
    return _collect("token scorer", "register_token_scorers", "TokenScorer")


def references() -> dict[str, ReferenceBuilder]:
    """Every registered reference builder by name."""
    return _collect_builders("reference", "register_references", "Reference")


def parts() -> dict[str, PartSpec]:
    """Every registered part of the loss by name, in the order in which their values are summed."""
    return _collect("part", "register_parts", "PartSpec")


def presets() -> dict[str, Preset]:
    """Every registered preset by name."""
    return _collect("preset", "register_presets", "Preset")


def frameworks() -> dict[str, Framework]:
    """Every registered framework by name."""
    return _collect("framework", "register_frameworks", "Framework")


def judges() -> dict[str, Callable[..., Judge]]:
    """Every registered judge factory by name."""
    return _collect_builders("judge", "register_judges", "Judge")


def methods() -> dict[str, Method]:
    """Every registered method of ``pact compare`` by name."""
    return _collect("method", "register_methods", "Method")


def short_names() -> list[ShortName]:
    """What the stock commands of frameworks take after ``pact enable``, in the order of their distributions."""
    found: list[ShortName] = []

    def register(short_name: Any) -> None:
        if not isinstance(short_name, contracts.ShortName):
            raise PACTError(_not_of_the_kind("register_short_names", short_name, "a pact_plugins.contracts.ShortName"))
        found.append(short_name)

    get_plugin_manager().hook.register_short_names(register=register)
    return sorted(found, key=lambda short_name: short_name.distribution)


def task_folders() -> list[Path]:
    """Folders of lm-eval task files.

    Raises:
        PACTError: one is no folder, or holds no task file.
    """
    found: list[Path] = []

    def register(folder: Any) -> None:
        place = Path(folder) if isinstance(folder, str | os.PathLike) else None
        if place is None or not any(place.glob("*.yaml")):
            raise PACTError(_not_of_the_kind("register_task_folders", folder, "the path of a folder of *.yaml files"))
        found.append(place.resolve())

    get_plugin_manager().hook.register_task_folders(register=register)
    return sorted(found)


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
