"""Which frameworks are installed, and whether their hook is in place."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from pact_plugins import plugins
from pact_plugins.contracts import ShortName


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


def inventory() -> list[FrameworkState]:
    """One entry a framework; imports none of them."""
    return [
        FrameworkState(
            short_name.distribution,
            _version(short_name.distribution),
            next(iter(short_name.targets), None),
            short_name.usage,
            _problem(short_name),
        )
        for short_name in plugins.short_names()
    ]


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _problem(short_name: ShortName) -> str | None:
    homes = dict.fromkeys(function.partition(":")[0] for function in short_name.targets.values())
    missing = [home for home in homes if not _is_importable(home)]
    return f"{', '.join(missing)} is missing: reinstall the package" if missing else None


def _is_importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False
