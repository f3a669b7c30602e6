"""What must not stand in results: lm-eval writes a model's arguments into them as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pact_plugins.errors import ConfigurationError

_NAMES = re.compile(
    r"(?i)(?:(?:hf|auth|api|access|bearer)_?)?(?:token|key)|use_auth_token|headers?|password|secret|credentials?"
)
_VALUES = re.compile(r"hf_\w{8,}|sk-[\w-]{8,}|(?i:bearer )\S+|\w+://[^/\s]*@")


def is_secret(name: str, value: Any) -> bool:
    """Whether an argument's name or value says that it is one."""
    return bool(_NAMES.fullmatch(name)) or bool(_VALUES.search(str(value)))


def refuse_secrets(arguments: Mapping[str, Any], variable: str) -> None:
    """Raise ConfigurationError where one is among the arguments; ``variable`` of the environment is its place."""
    for name, value in arguments.items():
        if is_secret(name, value):
            raise ConfigurationError(f"--model-args: {name} would be stored with the results; set {variable} instead")


def without_secrets(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What can be shown of the arguments that somebody else stored."""
    return {name: "***" if is_secret(name, value) else value for name, value in arguments.items()}
