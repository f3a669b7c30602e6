"""``pact verify``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click


@click.command()
@click.argument("output_dir", type=click.Path(path_type=Path))
@click.option(
    "--run", type=click.Path(path_type=Path), help="Folder with pact.json, where OUTPUT_DIR has weights alone."
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def verify(output_dir: Path, run: Path | None, as_json: bool) -> None:
    """Say whether a folder's weights were protected throughout.

    That is: whether they are those of a run that was protected from its first step to its last. Reads OUTPUT_DIR's
    weights, its pact.json, the checkpoints and the trainer's log, resumptions included. Exit status 1 where something
    was not protected, or where that cannot be told.

    \b
    Example: pact verify out && echo "protected throughout"
    """
    from pact_plugins.report.lines import echo
    from pact_plugins.verification import verify as compare

    folder = _folder(output_dir)
    found = compare(folder, run=None if run is None else _folder(run))
    if as_json:
        click.echo(json.dumps({**asdict(found), "protected": found.is_protected}, indent=1))
    else:
        for problem in found.problems:
            echo(f"- {problem}")
        for line in _elsewhere(run or folder):
            echo(line)
        count = len(found.segments)
        segments = "" if count < 2 else f", in {count} segments"
        verdict = "protected throughout" if found.is_protected else "NOT PROTECTED THROUGHOUT"
        click.echo(f"{verdict}: {found.protected_steps} of {found.trained_steps} optimizer steps{segments}")
    sys.exit(0 if found.is_protected else 1)


def _folder(given: Path) -> Path:
    from pact_plugins.errors import ConfigurationError
    from pact_plugins.files import no_such_folder
    from pact_plugins.run_record import FILE_NAME

    if given.name == FILE_NAME and given.is_file():
        return given.parent
    if not given.is_dir():
        what = "is a file" if given.exists() else no_such_folder(str(given))
        raise ConfigurationError(f"OUTPUT_DIR: {given}: {what}; give the training's output folder")
    return given


def _elsewhere(folder: Path) -> list[str]:
    """Where the run's record is, for who has given another folder of it."""
    from pact_plugins.run_record import FILE_NAME

    if (folder / FILE_NAME).is_file():
        return []
    near = [folder.resolve().parent, *sorted(path for path in folder.iterdir() if path.is_dir())]
    found = [str(path) for path in near if (path / FILE_NAME).is_file()]
    return [f"  There is one in {', '.join(found[:5])}: give that folder, or name it with --run."] if found else []
