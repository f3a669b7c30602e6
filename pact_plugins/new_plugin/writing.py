"""The files of a new plugin, from the templates."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pact_plugins.errors import ConfigurationError
from pact_plugins.files import atomic_folder
from pact_plugins.new_plugin.kinds import Kind
from pact_plugins.new_plugin.naming import Names

if TYPE_CHECKING:
    from jinja2 import Environment

LICENCES = ("Apache-2.0", "BSD-3-Clause", "GPL-3.0-or-later", "LGPL-3.0-or-later", "MIT", "MPL-2.0")
_COMMON = ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "tests/test_plugin.py")
_SUFFIX = ".jinja"


def write_plugin(folder: Path, name: str, kinds: Sequence[Kind], licence: str | None = None) -> list[str]:
    """Write a plugin of those kinds into ``folder``, whole or not at all; the paths in it, sorted.

    Raises:
        ConfigurationError: the name cannot be one or is taken; the folder is a file, or holds something.
        OutputError: it cannot be written.
    """
    names = Names.of(name)
    _check_empty(folder)
    names.check_free(kinds)
    files = render(names, kinds, licence)
    with atomic_folder(folder) as temporary:
        for path, text in files.items():
            target = temporary / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    return sorted(files)


def _check_empty(folder: Path) -> None:
    try:
        there = folder.is_dir() and any(folder.iterdir())
        if not there and (folder.is_dir() or not folder.exists()):
            return
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be read: {error.strerror}") from error
    why = "holds files already" if there else "is no folder"
    raise ConfigurationError(f"{folder} {why}; name a folder that is new or empty, with --output")


def render(names: Names, kinds: Sequence[Kind], licence: str | None) -> dict[str, str]:
    """Path in the plugin -> its text."""
    # Jinja is asked for nothing where only a command's help is wanted.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__, "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    values: dict[str, Any] = {
        "name": names.distribution,
        "module": names.module,
        "command": names.command,
        "kinds": kinds,
        "licence": licence,
        "minimum": _own_version(),
    }
    templates = {path: f"{path}{_SUFFIX}" for path in _COMMON}
    templates |= {f"{names.module}/{name}.py": f"package/{name}.py{_SUFFIX}" for name in ("__init__", "plugin")}
    for kind in kinds:
        templates |= _of_kind(environment, kind, names)
    return {path: environment.get_template(template).render(values) for path, template in templates.items()}


def _of_kind(environment: Environment, kind: Kind, names: Names) -> dict[str, str]:
    """What a kind adds: ``tests/`` beside the package, everything else but the snippets of other files in it."""
    home = f"kinds/{kind.module}/"
    found = {}
    for template in environment.list_templates(filter_func=lambda path: path.startswith(home)):
        path = template.removeprefix(home).removesuffix(_SUFFIX)
        if path.startswith("snippet."):
            continue
        found[path if path.startswith("tests/") else f"{names.module}/{path}"] = template
    return found


def _own_version() -> str:
    try:
        return version("pact-plugins")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
