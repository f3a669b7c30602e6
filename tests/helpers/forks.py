"""A fork of this process that does one thing, and leaves its output in a file."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def call_and_exit(folder: Path, function: Callable[[Any], Any], *, mode: str = "w") -> None:
    """Call ``function`` in ``folder`` with the open ``log.txt`` there, which takes all output; end the process.

    Its status is 0, or 1 where the function raised, with the traceback in the log.
    """
    os.chdir(folder)
    with open("log.txt", mode) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = log
        try:
            function(log)
        except BaseException:
            traceback.print_exc()
            log.flush()
            os._exit(1)
        log.flush()
        os._exit(0)
