"""``pact examples``: the example files for somebody who has the package and no clone."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from pact_plugins.errors import ConfigurationError
from pact_plugins.files import atomic_folder

_PACKAGE = Path(__file__).resolve().parents[1]
# In the wheel, and in a checkout.
_PLACES = (_PACKAGE / "examples", _PACKAGE.parent / "examples")
# What somebody's training has left in a checkout.
_NO_EXAMPLES = shutil.ignore_patterns("runs", "__pycache__")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default="examples")
def examples(folder: Path) -> None:
    """Write the examples of every framework into FOLDER.

    Runs of a minute on the small model that ships with the package, and
    recipes for GPUs. FOLDER (examples) must not be there yet.

    \b
    Examples:
      pact examples
      pact examples elsewhere/examples
    """
    if folder.exists():
        raise ConfigurationError(f"{folder} is there already, and nothing in it is replaced; name another folder")
    home = next(place for place in _PLACES if place.is_dir())
    with atomic_folder(folder) as temporary:
        shutil.copytree(home, temporary, ignore=_NO_EXAMPLES, copy_function=shutil.copyfile, dirs_exist_ok=True)
        count = sum(file.is_file() for file in temporary.rglob("*"))
    click.echo(f"{count} files in {folder}; the first lines of each YAML say how to start it")
