"""``pact card``."""

from __future__ import annotations

from pathlib import Path

import click

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_EVALUATION = "pact_eval"  # as in pact_evals.runs.store, which takes longer to import


@click.command("card")
@click.argument("folder", type=_FOLDER)
@click.option("--run", type=_FOLDER, help="Output folder of the training, where FOLDER is merged or exported from it.")
@click.option(
    "--evaluation",
    "evaluations",
    type=_FOLDER,
    multiple=True,
    help=f"Run folder of pact eval; repeatable.  [default: FOLDER/{_EVALUATION}, where there is one]",
)
@click.option("--model", "label", help="The model's label there.  [default: the one that lies in FOLDER]")
@click.option("--baseline", help="Label of the model to compare with.  [default: the first other one]")
def card_command(
    folder: Path, run: Path | None, evaluations: tuple[Path, ...], label: str | None, baseline: str | None
) -> None:
    """Write the section on PACT into a model's card (README.md).

    FOLDER is the model's; a section that is there is written anew.

    It says what pact verify says of the run, with its settings and what was evaluated. Exit status 1 where the run was
    not protected throughout: the card says so too.

    \b
    Examples:
      pact eval aligned=org/model tuned=out -o runs/eval
      pact card out --evaluation runs/eval
      pact card out/merged --run out
    """
    from pact_plugins.model_card.writing import CARD, write_card

    evaluated = None
    runs = evaluations or ((folder / _EVALUATION,) if (folder / _EVALUATION).is_dir() else ())
    if runs:
        from pact_evals.card import evaluation_of

        evaluated = evaluation_of(folder, runs, label=label, baseline=baseline)
    elif label or baseline:
        raise click.UsageError("--model and --baseline need --evaluation")
    found = write_card(folder, run, evaluated)
    verdict = "protected throughout" if found.is_protected else "NOT PROTECTED THROUGHOUT"
    click.echo(f"{folder / CARD}: {verdict}: {found.protected_steps} of {found.trained_steps} optimizer steps")
    click.get_current_context().exit(0 if found.is_protected else 1)
