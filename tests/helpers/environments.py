"""Virtual environments that a test may change: `pact enable` writes into the one it runs in."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from importlib.metadata import entry_points
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
_LEFT_OUT = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE", "PACT_DISABLE")


class Environment:
    """A virtual environment that sees this checkout and the packages of the running interpreter.

    Args:
        folder: where it is made.
        scripts: console scripts of those packages that it gets, started by its own Python.
    """

    def __init__(self, folder: Path, *, scripts: tuple[str, ...] = ()) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.bin = folder / "bin"
        self.python = self.bin / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.site = folder / "lib" / version / "site-packages"
        paths = [
            CHECKOUT,
            CHECKOUT / "integrations",
            CHECKOUT / "evals",
            CHECKOUT / "lab",
            sysconfig.get_path("purelib"),
        ]
        self.editable = self.site / "_editable_impl_of_the_test.pth"
        self.editable.write_text("".join(f"{path}\n" for path in paths))
        for name in scripts:
            self._add_script(name)

    def _add_script(self, name: str) -> None:
        (script,) = {entry.value for entry in entry_points(group="console_scripts", name=name)}
        module, _, function = script.partition(":")
        file = self.bin / name
        # Guarded as pip's own are: processes that a script spawns import it again.
        main = f"if __name__ == '__main__':\n    sys.exit({function}())\n"
        file.write_text(f"#!{self.python}\nimport sys\nfrom {module} import {function}\n{main}")
        file.chmod(0o755)

    def variables(self, **changes: str) -> dict[str, str]:
        """The variables for a process of this environment, its scripts first on the path."""
        kept = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
        return {**kept, "PATH": f"{self.bin}{os.pathsep}{kept['PATH']}", **changes}

    def run(self, *arguments: str, cwd: Path | None = None, **changes: str) -> subprocess.CompletedProcess[str]:
        """Start this environment's Python."""
        command = [str(self.python), *arguments]
        return subprocess.run(
            command, env=self.variables(**changes), cwd=cwd or self.site, capture_output=True, text=True, check=False
        )

    def pact(self, command: str) -> subprocess.CompletedProcess[str]:
        """One of `enable`, `disable` and `doctor` alone: `pact` would load every plugin first."""
        return self.run("-c", f"from pact_plugins.cli.activation import {command}; {command}()", COLUMNS="200")

    def has_hook(self, **changes: str) -> bool:
        """Whether its Python starts with the import hook."""
        program = "import sys; print([type(finder).__name__ for finder in sys.meta_path])"
        result = self.run("-c", program, **changes)
        assert (result.returncode, result.stderr) == (0, "")
        return "ImportHook" in result.stdout

    def files(self) -> set[str]:
        """What lies in its site-packages."""
        return {file.name for file in self.site.iterdir() if file.name != "__pycache__"}
