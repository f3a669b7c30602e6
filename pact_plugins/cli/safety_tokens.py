"""``pact calibrate`` and ``pact inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pact_plugins.cli.options import config_from, config_options

_DTYPES = ("auto", "float32", "bfloat16", "float16")
_CALIBRATION_KEYS = (
    "top_k",
    "token_scorer",
    "include_openers",
    "exclude_special_tokens",
    "max_refusals",
    "max_response_tokens",
    "calibration_batch_size",
    "assistant_header",
)


@click.command()
@click.argument("model")
@click.option("--base", "base_model_path", help="base model that MODEL was aligned from; without it, base-free")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--refusals", "refusals_path", help="JSON or JSONL with prompt and response; else MODEL is asked")
@click.option("--prompts", "harmful_prompts_path", help="JSON or JSONL prompts to ask MODEL; else the bundled ones")
@click.option("--harmless-prompts", "harmless_prompts_path", help="JSON or JSONL prompts it helps with; else bundled")
@click.option("--device", default=None, help="where to run [default: cuda if there is one, else cpu]")
@click.option("--dtype", type=click.Choice(_DTYPES), default="auto", show_default=True, help="dtype of the weights")
@click.option("--revision", default=None, help="revision of MODEL on the hub")
@config_options(*_CALIBRATION_KEYS)
def calibrate(model: str, output: Path, device: str | None, dtype: str, revision: str | None, **values: Any) -> None:
    """Find the safety tokens of the aligned MODEL (a path or a hub id) and save them."""
    import torch

    from pact_plugins.cli.loading import load_model
    from pact_plugins.safety_tokens.recipe import calibrate as run

    config = config_from(values)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    causal_lm, tokenizer = load_model(model, device=device, dtype=dtype, revision=revision)
    tokens = run(causal_lm, tokenizer, config, release_model=True)
    tokens.save(output)
    click.echo(f"{len(tokens)} safety tokens of {model}, fingerprint {tokens.fingerprint}, saved in {output}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--chart", type=click.Path(dir_okay=False, path_type=Path), help="also write a bar chart (PNG)")
def inspect(file: Path, chart: Path | None) -> None:
    """Show the safety tokens in FILE."""
    from rich.console import Console

    from pact_plugins.report.lines import as_text
    from pact_plugins.safety_tokens import SafetyTokens, display

    tokens = SafetyTokens.load(file)
    console = Console()
    console.print(display.table(tokens))
    for line in display.setting_lines(tokens):
        console.print(as_text(line))
    console.print(as_text(f"tokenizer: {tokens.tokenizer_fingerprint}"))
    if chart is not None:
        console.print(f"chart: {display.save_chart(tokens, chart)}", highlight=False, markup=False)
