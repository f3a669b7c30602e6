"""Which versions of what the package rides on were tested, and which are known not to work.

``tested_versions.json`` is made from the compatibility matrix (``make compat``); what does not work is what the
package's own requirements exclude. Nothing else holds a version.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.resources import files
from importlib.util import find_spec

from packaging.requirements import Requirement
from packaging.version import Version

from pact_plugins.errors import ConfigurationError
from pact_plugins.messages import announce


@dataclass(frozen=True)
class Compatibility:
    """One installed distribution.

    Attributes:
        distribution: its name.
        version: the installed one.
        oldest, newest: that the tests have run with; None where they never ran with any.
        requirement: what the package asks for ("trl>=0.24"), where the installed version does not meet it.
    """

    distribution: str
    version: str
    oldest: str | None
    newest: str | None
    requirement: str | None

    @property
    def is_tested(self) -> bool:
        """Whether it lies between the oldest and the newest tested version; patch releases count as their minor."""
        if self.oldest is None or self.newest is None:
            return False
        return _minor(self.oldest) <= _minor(self.version) <= _minor(self.newest)

    @property
    def verdict(self) -> str:
        """For a table: "tested", "not tested: 0.24.0 to 1.16.0 are", "too old: trl>=0.24"."""
        if self.requirement is not None:
            return f"does not work: {self.requirement} is needed"
        if self.is_tested:
            return "tested"
        return f"not tested: {self.oldest} to {self.newest} are" if self.oldest else "not tested"


def compatibility_of(distribution: str) -> Compatibility | None:
    """What is known of the installed version; None where it is not installed."""
    try:
        installed = version(distribution)
    except PackageNotFoundError:
        return None
    tested = known_versions().get(distribution, {})
    unmet = next(
        (
            f"{wanted.name}{wanted.specifier}"
            for wanted in _requirements()
            if wanted.name == distribution and not wanted.specifier.contains(installed, prereleases=True)
        ),
        None,
    )
    return Compatibility(distribution, installed, tested.get("oldest"), tested.get("newest"), unmet)


@cache
def check_versions() -> None:
    """Once a process: refuse what is known not to work, and say what was never tested, of all that is imported.

    Raises:
        ConfigurationError: a version that the package's requirements exclude.
    """
    untested = []
    for distribution in known_versions():
        if distribution.replace("-", "_") not in sys.modules:
            continue
        found = compatibility_of(distribution)
        if found is None:
            continue
        if found.requirement is not None:
            raise ConfigurationError(
                f"{distribution} {found.version} does not work with this package; install {found.requirement}"
            )
        if not found.is_tested:
            untested.append(f"{distribution} {found.version} ({found.verdict})")
    if untested:
        announce(f"outside the tested versions, watch the first steps: {', '.join(untested)}")


def imported_versions() -> dict[str, str]:
    """By distribution, of what this process has imported: libraries and framework."""
    return {
        distribution: version(distribution)
        for distribution in known_versions()
        if distribution.replace("-", "_") in sys.modules
    }


@cache
def known_versions() -> dict[str, dict[str, str]]:
    """By distribution: ``oldest`` and ``newest``."""
    text = files(__package__).joinpath("tested_versions.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


@cache
def _requirements(package: str = "pact-plugins") -> list[Requirement]:
    try:
        return [Requirement(line) for line in requires(package) or ()]
    except PackageNotFoundError:
        return []


def what_brings(module: str) -> str | None:
    """What to install for a missing module: the smallest extra ("pact-plugins[eval]"); None where none brings it."""
    for package in ("pact-plugins", "pact-lab"):
        wanted = [(_extra(requirement), requirement.name.replace("-", "_")) for requirement in _requirements(package)]
        size = Counter(extra for extra, _ in wanted)
        bringing = {extra for extra, name in wanted if extra and name == module.partition(".")[0]}
        if bringing:
            return f"{package}[{min(bringing, key=lambda extra: (size[extra], extra))}]"
    return None


def _extra(requirement: Requirement) -> str:
    return str(requirement.marker or "").removeprefix("extra == ").strip("\"'")


def require(module: str) -> None:
    """Say what to install before anything is computed.

    Raises:
        ConfigurationError: a module that an extra brings is not there.
    """
    if find_spec(module) is None:
        raise ConfigurationError(f"{module} is not installed: pip install '{what_brings(module)}'")


def _minor(text: str) -> tuple[int, ...]:
    return Version(text).release[:2]
