"""``pact verify``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click


@click.command()
@click.argument("output_dir", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def verify(output_dir: Path, as_json: bool) -> None:
    """Say whether a run was protected from first step to last.

    Reads OUTPUT_DIR's pact.json, the checkpoints and the trainer's log, resumptions included. Exit status 1 where it
    was not, or where that cannot be told.

    \b
    Example: pact verify out && echo "protected throughout"
    """
    from pact_plugins.report.lines import echo
    from pact_plugins.verification import verify as run

    found = run(output_dir)
    if as_json:
        click.echo(json.dumps({**asdict(found), "protected": found.is_protected}, indent=1))
    else:
        for problem in found.problems:
            echo(f"- {problem}")
        count = len(found.pieces)
        pieces = "" if count < 2 else f", in {count} pieces"
        verdict = "protected throughout" if found.is_protected else "NOT PROTECTED THROUGHOUT"
        click.echo(f"{verdict}: {found.protected_steps} of {found.trained_steps} optimizer steps{pieces}")
    sys.exit(0 if found.is_protected else 1)
