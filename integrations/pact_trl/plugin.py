"""What the TRL integration registers. Imports nothing heavy: it is loaded by every ``pact`` command."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pact_plugins.contracts import Framework, ShortName
from pact_plugins.hookspecs import hookimpl


@hookimpl
def register_short_names(register: Callable[[ShortName], None]) -> None:
    register(ShortName("trl", "callbacks=[PACTCallback]"))


@hookimpl
def register_frameworks(register: Callable[[Framework], None]) -> None:
    register(Framework("trl", "TRL's `trl sft` script: CONFIG.yaml with a pact: block", _train))


def _train(arguments: Sequence[str]) -> int:
    from pact_trl.training import train

    return train(arguments)
