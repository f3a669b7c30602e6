"""``pact natural-world export`` and ``measure``: a scenario through the other frameworks."""

from __future__ import annotations

from pathlib import Path

import click

from pact_plugins.cli.interruption import keeping
from pact_plugins.cli.options import OUTPUT_FILE, OUTPUT_FOLDER


@click.command("export")
@click.argument("scenario")
@click.option("-o", "--output", type=OUTPUT_FOLDER, required=True, help="folder for rows and YAMLs")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="of rows, order and adapter")
def export_command(scenario: str, output: Path, seed: int) -> None:
    """Write a scenario for Axolotl and LLaMA-Factory.

    Rows and YAMLs, with PACT and without, of the same training as the comparison's. The commands that it prints are
    the frameworks' own, to be started in the folder OUTPUT after `pact enable`.

    \b
    Example: pact natural-world export sst2-p05 -o runs/frameworks
    """
    from pact_lab.frameworks.export import export

    for plan in export(scenario, seed, output):
        click.echo(plan.command)


@click.command("measure")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=OUTPUT_FILE, required=True, help="JSON file of the runs; what it holds stays")
@click.option("--prompts", type=click.IntRange(min=2), default=66, show_default=True, help="of each kind")
def measure_command(folder: Path, output: Path, prompts: int) -> None:
    """Measure what the frameworks trained.

    FOLDER is that of `pact natural-world export`. Every run is written to OUTPUT as it finishes: the same command goes
    on, with runs that were trained meanwhile.

    \b
    Example: pact natural-world measure runs/frameworks -o frameworks.json
    """
    try:
        import lm_eval  # noqa: F401
        import trl  # noqa: F401
    except ImportError as error:
        raise click.ClickException(f"{error}; needs: pip install 'pact-plugins[trl,eval]'") from None
    from pact_lab.frameworks.measuring import measure

    with keeping(f"Runs that were measured are kept in {output}: the same command goes on from there."):
        runs = measure(folder, output, prompts)
    for run in runs:
        shown = [f"{100 * run[part]['comply']:.1f}" for part in ("harmful", "harmful_sampled")]
        click.echo(
            f"{run['scenario']} {run['framework']} {run['method']}: complied {shown[0]} %, sampled {shown[1]} %, task "
            f"{100 * (run['task_accuracy'] or 0):.1f} %; {run['rows_with_the_tokens_of_trl']} of {run['rows']} rows "
            "have the tokens and labels of TRL"
        )
    click.echo(f"{len(runs)} runs written: {output}")
