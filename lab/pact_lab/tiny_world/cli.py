"""`tiny-world`: rebuild the small aligned model, or measure a model of its kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import click

from pact_lab.tiny_world.requests import FAMILIES
from pact_plugins.cli.options import OUTPUT_FOLDER
from pact_plugins.errors import PACTError


@click.group("tiny-world")
def tiny_world() -> None:
    """The small aligned model of demo, tests and benchmarks.

    \b
    Examples:
      pact tiny-world build worlds/mine
      pact tiny-world evaluate worlds/mine/aligned --json
    """


@tiny_world.command("path")
def path_command() -> None:
    """Print the checkpoint folder of the aligned model.

    It ships with the package.

    \b
    Example: pact tiny-world path
    """
    from pact_lab.tiny_world import aligned_path

    click.echo(aligned_path())


@tiny_world.command("build")
@click.argument("output", type=OUTPUT_FOLDER)
@click.option(
    "--base-examples", type=click.IntRange(1), default=16_000, show_default=True, help="documents for the base"
)
@click.option(
    "--aligned-examples", type=click.IntRange(1), default=10_000, show_default=True, help="chat rows for the alignment"
)
@click.option("--seed", type=int, default=0, show_default=True, help="of data and training")
@click.option("--progress/--no-progress", default=True, show_default=True, help="show a bar")
def build_command(output: Path, base_examples: int, aligned_examples: int, seed: int, progress: bool) -> None:
    """Train the base and the aligned model into a new folder.

    OUTPUT is the folder; about a minute on two cores.

    \b
    Example: pact tiny-world build worlds/mine --seed 1
    """
    from pact_lab.tiny_world.builder import build

    try:
        folder = build(
            output, base_examples=base_examples, aligned_examples=aligned_examples, seed=seed, progress=progress
        )
    except PACTError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"Wrote {folder / 'base'} and {folder / 'aligned'}")


@tiny_world.command("evaluate")
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--prompts", type=click.IntRange(1), default=150, show_default=True, help="prompts of each kind")
@click.option("--seed", type=int, default=0, show_default=True, help="which prompts")
@click.option("--format", "prompt_format", type=click.Choice(["chat", "plain"]), default="chat", show_default=True,
              help="behind the chat template, or without")  # fmt: skip
@click.option("--families", type=click.Choice(list(FAMILIES)), default="aligned", show_default=True,
              help="which kinds of requests")  # fmt: skip
@click.option("--wording", type=click.Choice(["seen", "unseen"]), default="seen", show_default=True,
              help="as in the alignment, or in other words")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of a table")
def evaluate_command(model: Path, as_json: bool, **options: Any) -> None:
    """Measure refusal, help and task accuracy of a checkpoint.

    MODEL is its folder; on held-out prompts.

    \b
    Example: pact tiny-world evaluate worlds/mine/aligned --prompts 50 --json
    """
    from tqdm.auto import tqdm
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pact_lab.tiny_world.evaluation import GENERATIONS_PER_PROMPT, evaluate

    if not (model / "config.json").is_file():
        raise click.ClickException(f"{model} has no config.json; give the folder of a Hugging Face checkpoint")
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
        loaded = AutoModelForCausalLM.from_pretrained(model)
        with tqdm(total=GENERATIONS_PER_PROMPT * options["prompts"], desc="generating", leave=False) as bar:
            result = evaluate(loaded, tokenizer, progress=bar.update, **options)
    except (PACTError, OSError) as error:
        raise click.ClickException(f"{model}: {error}") from error
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        _print_table(result)


def _print_table(result: dict[str, Any]) -> None:
    from pact_lab.tiny_world.responses import Label
    from pact_plugins.report.terminal import print_table

    labels = get_args(Label)
    rows = [
        (name.replace("_", ", "), *(f"{100 * result[name][label]:.1f} %" for label in labels))
        for name in ("harmful", "harmful_sampled", "benign")
    ]
    title = f"{result['prompts']} held-out prompts of each kind"
    print_table(("prompts", *labels), rows, numbers=labels, title=title)
    click.echo(f"task accuracy {100 * result['task_accuracy']:.1f} %")
