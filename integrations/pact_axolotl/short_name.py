"""``plugins: pact`` in Axolotl's own commands: a step before and after the place where it loads plugins."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

_MARK = "_reads_pact"


def install(config_module: ModuleType) -> None:
    """Teach ``axolotl.cli.config`` the short name, once.

    Every way into Axolotl (train, preprocess, Ray workers ...) calls ``prepare_plugins`` of this module with the YAML
    as it was read.
    """
    _wrap(config_module, added=False)


def install_and_add(config_module: ModuleType) -> None:
    """The same for a command that asks for PACT itself: the plugin is added where the YAML does not list it."""
    _wrap(config_module, added=True)


def _wrap(config_module: ModuleType, *, added: bool) -> None:
    stock = config_module.prepare_plugins
    stock = getattr(stock, _MARK, stock)

    @functools.wraps(stock)
    def prepare_plugins(cfg: Any) -> None:
        from pact_axolotl import settings
        from pact_axolotl.stock_command import say_errors_in_one_line

        say_errors_in_one_line()
        names = settings.plugin_names(cfg)
        if added and not any(settings.is_ours(name) for name in names):
            names.append(settings.PLUGIN)
        if any(settings.is_ours(name) for name in names):
            cfg["plugins"] = [settings.PLUGIN if name.casefold() == settings.SHORT_NAME else name for name in names]
        settings.check(cfg)
        stock(cfg)
        _refuse_unloaded(cfg)

    setattr(prepare_plugins, _MARK, stock)
    config_module.prepare_plugins = prepare_plugins  # type: ignore[attr-defined]


def _refuse_unloaded(cfg: Any) -> None:
    """Axolotl logs an ImportError of a plugin and goes on."""
    from axolotl.integrations.base import PluginManager

    from pact_axolotl import settings
    from pact_plugins.errors import ConfigurationError

    loaded = PluginManager.get_instance().plugins
    for name in settings.plugin_names(cfg):
        if settings.SHORT_NAME in name.casefold() and name not in loaded:
            raise ConfigurationError(
                f"plugins: {name} could not be imported (Axolotl printed the reason above), so the run would be "
                f"unprotected; did you mean {settings.PLUGIN}?"
            )
