"""The real commands, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import yaml

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
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    programs = folder / "bin"
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # A path alone would not do: the .pth files over there put this checkout on the path.
    (packages / "_parent.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    scripts = entry_points(group="console_scripts")
    for name in ("pact", "llamafactory-cli", "torchrun"):
        script = scripts[name]
        program = programs / name
        # Guarded as pip's own are: processes that a script spawns import it again.
        main = f"if __name__ == '__main__':\n    sys.exit({script.attr}())\n"
        start = f"import sys\nfrom {script.module} import {script.attr}\n{main}"
        program.write_text(f"#!{programs / 'python'}\n{start}")
        program.chmod(0o755)
    # Without `pact` itself, which would load every plugin first.
    enable = "from pact_plugins.cli.activation import enable; enable()"
    done = run(["python", "-c", enable], cwd=folder, programs=programs, COLUMNS="1000")
    assert done.returncode == 0, done.stderr
    assert str(packages) in done.stdout
    return programs
