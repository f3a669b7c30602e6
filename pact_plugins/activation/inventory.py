"""Which frameworks are installed, and whether their hook is in place."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from pact_plugins.activation.hook import TARGETS


@dataclass(frozen=True)
class FrameworkState:
    """One row of ``pact doctor``.

    Attributes:
        framework: the name of its distribution.
        version: None where it is not installed.
        module: the module that the hook waits for, None where none is needed.
        short_name: what the user may then write.
        problem: why the hook could not do its work, None where nothing speaks against it.
    """

    framework: str
    version: str | None
    module: str | None
    short_name: str
    problem: str | None


_FRAMEWORKS = (
    ("trl", None, "callbacks=[PACTCallback]"),
    ("axolotl", "axolotl.cli.config", "plugins: pact"),
    ("llamafactory", "llamafactory.train.tuner", "stage: pact"),
    ("lm_eval", "lm_eval.tasks", "lm_eval --tasks pact_refusal"),
)


def inventory() -> list[FrameworkState]:
    """One entry a framework; imports none of them."""
    return [
        FrameworkState(name, _version(name), module, short_name, _problem(module))
        for name, module, short_name in _FRAMEWORKS
    ]


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _problem(module: str | None) -> str | None:
    if module is None:
        return None
    home = TARGETS[module].partition(":")[0]
    try:
        found = find_spec(home) is not None
    except ImportError:
        found = False
    return None if found else f"{home} is missing: reinstall pact-plugins"
