"""What a fine-tuning framework is to the command line, and the short name that its own commands take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Framework", "ShortName"]


@dataclass(frozen=True)
class Framework:
    """A framework that ``pact train NAME`` launches.

    Attributes:
        name: as typed by the user.
        description: one line for ``pact train --help``.
        train: receives the remaining command-line arguments and returns the exit status.
    """

    name: str
    description: str
    train: Callable[[Sequence[str]], int]


@dataclass(frozen=True)
class ShortName:
    """What the stock commands of a framework take once ``pact enable`` has been run.

    Attributes:
        distribution: the framework's name on PyPI; ``pact doctor`` looks its version up.
        usage: what the user then writes, for instance ``plugins: pact``.
        targets: module of the framework -> ``package.module:function``, which is called with the module right after it
            has been imported. Empty where the short name needs no help.
    """

    distribution: str
    usage: str
    targets: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for module, function in self.targets.items():
            home, separator, name = function.partition(":")
            if not (module and home and separator and name.isidentifier()):
                raise ValueError(
                    f"short name of {self.distribution}: target {module!r}: {function!r} is not of the form "
                    "package.module:function"
                )
