"""The modules of LLaMA-Factory that learn of ``stage: pact``, and what is called with each."""

from __future__ import annotations

from types import ModuleType

TARGETS = {
    "llamafactory.train.tuner": "pact_llamafactory.activation:install",
    "llamafactory.hparams.parser": "pact_llamafactory.activation:install_parser",
    "llamafactory.webui.interface": "pact_llamafactory.activation:install_llamaboard",
    "llamafactory.v1.launcher": "pact_llamafactory.activation:install_v1",
}

_MARK = "_pact_installed"


def first_time(module: ModuleType) -> bool:
    """Whether ``module`` is met for the first time; it is marked."""
    first = not hasattr(module, _MARK)
    setattr(module, _MARK, True)
    return first
