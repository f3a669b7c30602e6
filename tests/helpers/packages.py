"""A stranger's package, written to disk as an installer would leave it."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

HOOKS_PAGE = Path(__file__).parents[2] / "docs" / "hooks.md"


def documented_example(hook: str) -> str:
    """The Python example of one hook in docs/hooks.md."""
    section = HOOKS_PAGE.read_text(encoding="utf-8").split(f"## `{hook}(", 1)[1].split("\n## ", 1)[0]
    match = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert match is not None, f"{hook} has no example"
    return match.group(1)


def _metadata(name: str, plugin: str | None) -> dict[str, str]:
    return {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n",
        "entry_points.txt": f"[pact]\n{plugin or name} = {name}\n",
    }


def write_wheel(folder: Path, source: str, *, name: str = "stranger", plugin: str | None = None) -> Path:
    """A wheel, ready for ``pip install``."""
    information = f"{name}-1.2.3.dist-info"
    files = {f"{name}.py": source}
    files |= {f"{information}/{key}": value for key, value in _metadata(name, plugin).items()}
    files[f"{information}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{information}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{information}/RECORD"])
    wheel = folder / f"{name}-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return wheel


def write_installed(folder: Path, source: str, *, name: str = "stranger", plugin: str | None = None) -> Path:
    """What an installer leaves in site-packages: a module and its metadata."""
    information = folder / f"{name}-1.2.3.dist-info"
    information.mkdir(parents=True)
    (folder / f"{name}.py").write_text(source)
    for key, value in _metadata(name, plugin).items():
        (information / key).write_text(value)
    return folder
