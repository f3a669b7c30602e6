"""What the Axolotl integration registers. Imports nothing heavy: it is loaded by every ``pact`` command."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pact_plugins.contracts import Framework, ShortName
from pact_plugins.hookspecs import hookimpl


@hookimpl
def register_short_names(register: Callable[[ShortName], None]) -> None:
    targets = {
        "axolotl.cli.config": "pact_axolotl.short_name:install",
        "axolotl.cli.main": "pact_axolotl.stock_command:install",
    }
    register(ShortName("axolotl", "plugins: pact", targets))


@hookimpl
def register_frameworks(register: Callable[[Framework], None]) -> None:
    register(Framework("axolotl", "`axolotl train` with PACT: CONFIG.yml and its options", _train))


def _train(arguments: Sequence[str]) -> int:
    from pact_axolotl.launch import train

    return train(arguments)
