"""One logger for the whole package, visible by default and silent on all ranks but the first."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from pact_plugins.visible import visible

_LIBRARIES = r"(accelerate|datasets|peft|transformers|trl)\b"

logger = logging.getLogger("pact_plugins")


def speak_through(other: logging.Logger) -> None:
    """Log through a framework's own logger from now on, where the framework hides everybody else's lines."""
    global logger
    logger = other


def is_main_process() -> bool:
    """Whether this is the first rank of a torchrun or accelerate launch, or the only process."""
    return int(os.environ.get("RANK", "0")) == 0


def announce(message: str) -> None:
    """Log one line at level INFO on the main process.

    Training scripts rarely configure logging, and a user must see what protects the run: where nobody has set up
    logging, the package writes to standard error itself.
    """
    _log(logging.INFO, message)


def warn(message: str) -> None:
    """The same at level WARNING, which is shown wherever logging was set up: the run is protected less than asked."""
    _log(logging.WARNING, message)


def _log(level: int, message: str) -> None:
    if not is_main_process():
        return
    if not logging.getLogger().handlers and not logger.handlers:
        handler = _StandardError()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
    finish_bars()
    logger.log(level, "PACT: %s", visible(message))


@contextmanager
def without_future_warnings() -> Iterator[None]:
    """Around a framework's run in a command of ours: what libraries tell one another's authors is no news to its user.

    Whoever has asked Python for warnings (``-W``, ``PYTHONWARNINGS``) gets them.
    """
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.filterwarnings("ignore", category=FutureWarning, module=_LIBRARIES)
        yield


def finish_bars() -> None:
    """End the line that a progress bar of whatever library has begun, so that the next line is not glued to it."""
    bars = getattr(sys.modules.get("tqdm.std"), "tqdm", None)
    streams = {id(bar.fp): bar.fp for bar in list(getattr(bars, "_instances", ())) if not bar.disable}
    for stream in streams.values():
        stream.write("\n")


class _StandardError(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what standard error is now, which a command may have replaced since."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _value: object) -> None:
        pass
