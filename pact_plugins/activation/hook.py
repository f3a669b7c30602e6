"""The import hook: a framework's module is handed to one function of ours right after it has been imported.

An enabled interpreter imports this module whenever it starts. It therefore imports only what is loaded already, and
does nothing but put one finder on ``sys.meta_path``.
"""

from __future__ import annotations

import os
import sys
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

SWITCH_OFF = "PACT_DISABLE"


class ImportHook:
    """A finder that finds nothing of its own: it lets the others find, and adds a step after the module has run.

    Args:
        targets: module name -> ``package.module:function``.
    """

    def __init__(self, targets: Mapping[str, str]) -> None:
        self.targets = targets
        self._searching: set[tuple[str, int]] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the other finders give, its loader extended; None for every module but the targets."""
        if name not in self.targets:
            return None
        # Another package's hook may ask all finders in the same way, us included.
        key = (name, get_ident())
        if key in self._searching:
            return None
        self._searching.add(key)
        try:
            spec = self._found_by_others(name, path, target)
        finally:
            self._searching.discard(key)
        if spec is not None and spec.loader is not None:
            self._extend(spec.loader, name)
        return spec

    def _found_by_others(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    return spec
        return None

    def _extend(self, loader: object, name: str) -> None:
        run_module = loader.exec_module  # type: ignore[attr-defined]

        def exec_module(module: ModuleType) -> None:
            run_module(module)
            apply(module, self.targets[name])

        # On the instance: the module keeps the loader that inspect, pkgutil and tracebacks expect.
        loader.exec_module = exec_module  # type: ignore[attr-defined]


def apply(module: ModuleType, function: str) -> None:
    """Call ``function`` (``package.module:name``) with ``module``.

    Raises:
        ActivationError: it failed. The import fails with it: a run that asks for PACT must not go on without. The cause
            is printed too, because some callers treat a failed import as an optional feature.
    """
    try:
        from importlib import import_module

        home, _, name = function.partition(":")
        getattr(import_module(home), name)(module)
    except Exception as error:
        from pact_plugins.errors import ActivationError

        message = (
            f"PACT could not be put into {module.__name__} ({function}): {type(error).__name__}: {error}. "
            f"Set {SWITCH_OFF}=1 to run without PACT once, or `pact disable` to take it out"
        )
        print(f"Error: {message}", file=sys.stderr)  # noqa: T201
        raise ActivationError(message) from error


def is_installed() -> bool:
    """Whether this interpreter has the hook."""
    return any(isinstance(finder, ImportHook) for finder in sys.meta_path)


def install(targets: Mapping[str, str] | None = None) -> None:
    """Put the hook in front of the other finders, once; ``PACT_DISABLE=1`` in the environment prevents it.

    Targets that are imported already are handed to their functions here.

    Args:
        targets: module name -> ``package.module:function``; None asks the plugins, which takes longer.
    """
    if os.environ.get(SWITCH_OFF, "0") not in ("", "0") or is_installed():
        return
    if targets is None:
        from pact_plugins.activation.targets import registered_targets

        targets = registered_targets()
    sys.meta_path.insert(0, ImportHook(targets))  # type: ignore[arg-type]
    for name, function in targets.items():
        module = sys.modules.get(name)
        if module is not None:
            apply(module, function)
