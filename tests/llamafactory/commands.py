"""The real commands, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

BIN = Path(sys.executable).parent


def run(command: list[str], *, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``command`` from this environment's ``bin``; both streams are kept as text."""
    variables = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}", **environment}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=400)


def write(settings: dict[str, Any], file: Path) -> Path:
    """Write a YAML file."""
    file.write_text(yaml.safe_dump(settings))
    return file
