"""Which modules of the frameworks the import hook waits for: what the plugins' short names ask for."""

from __future__ import annotations

from pact_plugins import plugins
from pact_plugins.errors import ActivationError


def registered_targets() -> dict[str, str]:
    """Module of a framework -> ``package.module:function``, of all registered short names.

    Raises:
        ActivationError: two short names want the same module.
    """
    targets: dict[str, str] = {}
    for short_name in plugins.short_names():
        for module, function in short_name.targets.items():
            if targets.get(module, function) != function:
                raise ActivationError(
                    f"two plugins want to be called when {module} is imported ({targets[module]} and {function}); "
                    "uninstall one"
                )
            targets[module] = function
    return targets
