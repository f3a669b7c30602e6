"""``pact calibrate`` and ``pact inspect``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pact_plugins.cli.options import DTYPES, OUTPUT_FILE, a_model, config_from, config_options, paths_exist
from pact_plugins.errors import ConfigurationError

_PROMPTS = ("harmful_prompts_path", "harmless_prompts_path")


@click.command()
@click.argument("model")
@click.option(
    "--base", "safety_tokens__base_model_path", help="base model that MODEL was aligned from; without it, base-free"
)
@click.option("-o", "--output", type=OUTPUT_FILE, required=True,
              help="file for the safety tokens")  # fmt: skip
@click.option(
    "--refusals", "safety_tokens__refusals_path", help="JSON or JSONL with prompt and response; else MODEL is asked"
)
@click.option(
    "--prompts", "safety_tokens__harmful_prompts_path", help="JSON or JSONL prompts to ask MODEL; else the bundled ones"
)
@click.option(
    "--harmless-prompts",
    "safety_tokens__harmless_prompts_path",
    help="JSON or JSONL prompts it helps with; else bundled",
)
@click.option("--device", default=None, help="where to run [default: cuda if there is one, else cpu]")
@click.option("--dtype", type=click.Choice(DTYPES), default="auto", show_default=True, help="dtype of the weights")
@click.option("--revision", default=None, help="revision of MODEL on the hub")
@config_options(
    top_k="safety_tokens.top_k",
    scorer="safety_tokens.scorer",
    include_openings="safety_tokens.include_openings",
    exclude_special_tokens="safety_tokens.exclude_special_tokens",
    max_refusals="safety_tokens.max_refusals",
    max_response_tokens="safety_tokens.max_response_tokens",
    batch_size="safety_tokens.batch_size",
    assistant_header="reference.assistant_header",
)
def calibrate(model: str, output: Path, device: str | None, dtype: str, revision: str | None, **values: Any) -> None:
    """Find the safety tokens of the aligned MODEL and save them.

    MODEL is a path or a hub id.

    \b
    Examples:
      pact calibrate org/model -o tokens.safetensors
      pact calibrate ./aligned --base ./base --refusals refusals.jsonl -o tokens.safetensors
    """
    paths = {key: values[f"safety_tokens__{key}"] for key in ("refusals_path", *_PROMPTS)}
    paths_exist(paths)
    a_model(model, "MODEL")
    a_model(values["safety_tokens__base_model_path"], "base_model_path")
    import torch

    from pact_plugins.cli.loading import load_model
    from pact_plugins.files import read_rows
    from pact_plugins.safety_tokens.recipe import calibrate as run
    from pact_plugins.safety_tokens.refusals import read_prompts

    config = config_from(values)
    # What cannot be read is said before the model is loaded.
    for key in _PROMPTS:
        if paths[key]:
            read_prompts(paths[key], key=key)
    if paths["refusals_path"]:
        read_rows(paths["refusals_path"], key="refusals_path")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    causal_lm, tokenizer = load_model(model, device=device, dtype=dtype, revision=revision)
    tokens = run(causal_lm, tokenizer, config.recipe(), release_model=True)
    tokens.save(output)
    click.echo(f"{len(tokens)} safety tokens of {model}, fingerprint {tokens.fingerprint}, saved in {output}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--chart", type=OUTPUT_FILE, help="also write a bar chart (PNG)")
@click.option("--json", "as_json", is_flag=True, help="for machines")
def inspect(file: Path, chart: Path | None, as_json: bool) -> None:
    """Show the safety tokens in FILE.

    The output folder of a run will do: it holds those that held it.

    \b
    Examples:
      pact inspect tokens.safetensors --chart tokens.png
      pact inspect out
      pact inspect tokens.safetensors --json
    """
    file = _token_file(file)
    if chart is not None:
        from pact_plugins.compatibility import require

        require("matplotlib")
    from pact_plugins.reference.cache.description import hash_of_ids
    from pact_plugins.report.lines import echo
    from pact_plugins.report.terminal import print_table
    from pact_plugins.safety_tokens import SafetyTokens, display

    tokens = SafetyTokens.load(file)
    ids = hash_of_ids(tokens.token_ids.tolist())
    if as_json:
        click.echo(json.dumps({**display.as_dict(tokens), "token_ids_fingerprint": ids}, indent=1, ensure_ascii=False))
    else:
        title = f"{len(tokens)} safety tokens, fingerprint {tokens.fingerprint}"
        print_table(display.COLUMNS, display.rows(tokens), numbers=display.COLUMNS[1:], title=title)
        for line in ("", *display.setting_lines(tokens)):
            echo(line)
        click.echo(f"tokenizer: {tokens.tokenizer_fingerprint}")
        click.echo(f"token ids, as `pact cache info` calls them: {ids}")
    if chart is not None:
        click.echo(f"chart: {display.save_chart(tokens, chart)}", err=as_json)


def _token_file(given: Path) -> Path:
    """The file, or the one that a run has left in its output folder."""
    from pact_plugins.run_record import SAFETY_TOKENS_FILE

    file = given / SAFETY_TOKENS_FILE if given.is_dir() else given
    if file.is_file():
        return file
    if given.is_dir():
        others = sorted(str(path) for path in given.glob(f"*/{SAFETY_TOKENS_FILE}"))
        instead = f"there are some in {', '.join(others[:5])}" if others else "give a file of safety tokens"
        raise ConfigurationError(
            f"FILE: {given} is a folder without {SAFETY_TOKENS_FILE}, which a run leaves; {instead}"
        )
    raise ConfigurationError(f"FILE: no such file: {given}. Make one with `pact calibrate MODEL -o {given}`")
