"""Errors of ours in Axolotl's own commands: one line and exit status 2 instead of tracebacks."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import click

_PACKAGE = "axolotl"
_MARK = "_checks_for_pact"
_Hook = Callable[[type[BaseException], BaseException, "TracebackType | None"], Any]


class _RefusedError(click.ClickException):
    exit_code = 2


def install(main_module: ModuleType) -> None:
    """Let ``axolotl train`` look at the YAML first (``axolotl.cli.main``): its launcher would add its own traceback."""
    command = main_module.cli.commands["train"]
    stock = command.callback
    if getattr(stock, _MARK, False):
        return

    @functools.wraps(stock)
    def train(*arguments: Any, **options: Any) -> Any:
        _check(options)
        return stock(*arguments, **options)

    setattr(train, _MARK, True)
    command.callback = train


def _check(options: dict[str, Any]) -> None:
    """What a sweep changes in the YAML, and what a cloud reads of it, is checked in the worker."""
    file = Path(str(options.get("config")))
    if options.get("sweep") or options.get("cloud") or not file.is_file():
        return
    from pact_axolotl.preflight import check_as_written
    from pact_plugins.errors import ConfigurationError

    try:
        check_as_written(file, [key for key, value in options.items() if value is not None])
    except ConfigurationError as error:
        raise _RefusedError(str(error)) from None


def say_errors_in_one_line() -> None:
    """From now on an error of ours that nobody catches is one line, where Axolotl's own command runs in this process.

    A program that calls Axolotl as a library, and a Ray worker, keep Python's traceback.
    """
    if getattr(sys.excepthook, "func", None) is not _one_line and _is_axolotls_own(sys.modules.get("__main__")):
        sys.excepthook = functools.partial(_one_line, sys.excepthook)


def _is_axolotls_own(main: ModuleType | None) -> bool:
    """Whether this process was started as ``axolotl ...`` or ``python -m axolotl. ...``, as its launchers do."""
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).partition(".")[0] == _PACKAGE
    return Path(sys.argv[0]).stem == _PACKAGE


def _one_line(others: _Hook, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    from pact_plugins.errors import PACTError
    from pact_plugins.messages import finish_bars

    if not isinstance(error, PACTError):
        return others(kind, error, trace)
    finish_bars()
    sys.stderr.write(f"Error: {error}\n")
    sys.exit(2)
