"""The real commands, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.helpers.environments import Environment

BIN = Path(sys.executable).parent


def run(command: list[str], *, cwd: Path, programs: Path = BIN, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``command`` from the folder ``programs``; both streams are kept as text."""
    variables = {**os.environ, "PATH": search_path(programs), **environment}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=900)


def search_path(programs: Path) -> str:
    """PATH with ``programs`` in front."""
    return f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"


def write(settings: dict[str, Any], file: Path) -> Path:
    """Write a YAML file."""
    file.write_text(yaml.safe_dump(settings))
    return file


def enabled_environment(folder: Path) -> Path:
    """A virtual environment that sees this one's packages and in which `pact enable` was run; its ``bin``.

    So a test that is killed leaves nothing enabled in the environment that everything else runs in.
    """
    environment = Environment(folder, scripts=("llamafactory-cli", "torchrun"))
    done = environment.pact("enable")
    assert done.returncode == 0, done.stderr
    assert str(environment.site) in done.stdout
    return environment.bin
