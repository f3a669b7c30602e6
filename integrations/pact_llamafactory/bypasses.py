"""What makes LLaMA-Factory train past the trainer that the term rides on: refused by name."""

from __future__ import annotations

import os

from pact_llamafactory.arguments import STAGE, Arguments, is_on
from pact_plugins.errors import ConfigurationError

_ENVIRONMENT = {
    "USE_MCA": "trains with Megatron Core",
    "USE_MEGATRON_BRIDGE": "trains with Megatron Bridge",
    "USE_V1": "starts the v1 code, which has no place for a loss term",
}
_SWITCHES = {"use_hyper_parallel": "trains with HyperParallel"}


def refuse_bypasses(arguments: Arguments) -> None:
    """Make sure that a ``stage: pact`` run goes through LLaMA-Factory's own SFT trainer.

    Raises:
        ConfigurationError: names the setting, or the environment variable, under which it would not.
    """
    for name, effect in _ENVIRONMENT.items():
        if os.environ.get(name, "0").lower() in ("1", "true", "y", "yes"):
            raise ConfigurationError(f"{name}={os.environ[name]} {effect}, where PACT cannot reach: {_ADVICE} unset it")
    for name, effect in _SWITCHES.items():
        if is_on(arguments, name):
            raise ConfigurationError(f"{name} {effect}, where PACT cannot reach: {_ADVICE} remove it")


_ADVICE = f"with stage: {STAGE},"
