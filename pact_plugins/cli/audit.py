"""``pact audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pact_plugins.files import parse_json

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("model")
@click.argument("data")
@click.option("--split", default=None, help="split of a hub data set [default: train]")
@click.option("--config", default=None, help="configuration of a hub data set")
@click.option(
    "--threshold", default="gate", show_default=True, help="flag rows above this refusal mass; gate: as training would"
)
@click.option("--false-positive-rate", type=float, default=None, help="of --threshold auto [default: 0.01]")
@click.option("--filtered", type=_FILE, default=None, help="write the data without the flagged rows")
@click.option("--flagged", type=_FILE, default=None, help="write the flagged rows")
@click.option("--overwrite", is_flag=True, help="let --filtered and --flagged replace files")
@click.option("--json", "json_path", type=_FILE, default=None, help="write the report as JSON")
@click.option("--html", "html_path", type=_FILE, default=None, help="write the report as one HTML page")
@click.option("--skip-unreadable", is_flag=True, help="list rows that cannot be read, instead of stopping")
@click.option("--show", type=click.IntRange(min=0), default=10, show_default=True, help="flagged rows to print")
@click.option("--safety-tokens", type=_FILE, default=None, help="openers of this file; else learnt from the prompts")
@click.option("--harmful-prompts", default=None, help="JSON or JSONL prompts that MODEL refuses; else the bundled ones")
@click.option("--harmless-prompts", default=None, help="JSON or JSONL prompts that it helps with; else bundled")
@click.option("--template-arguments", default=None, help='JSON for the chat template: {"enable_thinking": false}')
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--device", default=None, help="where to run [default: cuda if there is one, else cpu]")
@click.option("--dtype", type=click.Choice(("auto", "float32", "bfloat16", "float16")), default="auto")
@click.option("--revision", default=None, help="revision of MODEL on the hub")
def audit(
    model: str,
    data: str,
    split: str | None,
    config: str | None,
    threshold: str,
    false_positive_rate: float | None,
    json_path: Path | None,
    html_path: Path | None,
    filtered: Path | None,
    flagged: Path | None,
    overwrite: bool,
    show: int,
    safety_tokens: Path | None,
    harmful_prompts: str | None,
    harmless_prompts: str | None,
    template_arguments: str | None,
    batch_size: int,
    skip_unreadable: bool,
    device: str | None,
    dtype: str,
    revision: str | None,
) -> None:
    """Find the rows of DATA (a file or a hub data set) whose prompts the aligned MODEL (a path or hub id) refuses.

    DATA is chat, prompt/completion, alpaca or sharegpt rows as JSON, JSONL or Parquet. It is never changed.
    """
    import torch
    from rich.console import Console

    from pact_plugins.audit.auditing import audit as run
    from pact_plugins.audit.outputs import Outputs
    from pact_plugins.audit.reading import open_source
    from pact_plugins.audit.report import words
    from pact_plugins.audit.report.terminal import print_report
    from pact_plugins.audit.scoring.threshold import DEFAULT_FALSE_POSITIVE_RATE
    from pact_plugins.cli.loading import load_model
    from pact_plugins.report.lines import echo
    from pact_plugins.safety_tokens import SafetyTokens
    from pact_plugins.safety_tokens.refusals import read_prompts

    # Everything that can be wrong with what was typed is found before a model is loaded.
    if false_positive_rate is not None and threshold != "auto":
        raise _error("--false-positive-rate needs --threshold auto")
    harmful = None if harmful_prompts is None else read_prompts(harmful_prompts, key="--harmful-prompts")
    harmless = None if harmless_prompts is None else read_prompts(harmless_prompts, key="--harmless-prompts")
    tokens = None if safety_tokens is None else SafetyTokens.load(safety_tokens)
    arguments = None if template_arguments is None else _json_object(template_arguments)
    source = open_source(data, split=split, config=config)
    outputs = Outputs(filtered=filtered, flagged=flagged, json=json_path, html=html_path, overwrite=overwrite)
    outputs.check(source)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    causal_lm, tokenizer = load_model(model, device=device, dtype=dtype, revision=revision)
    report = run(
        causal_lm,
        tokenizer,
        source.rows,
        safety_tokens=tokens,
        threshold=threshold,
        false_positive_rate=DEFAULT_FALSE_POSITIVE_RATE if false_positive_rate is None else false_positive_rate,
        template_arguments=arguments,
        batch_size=batch_size,
        skip_unreadable=skip_unreadable,
        harmful_prompts=harmful,
        harmless_prompts=harmless,
    )
    print_report(report, Console(), shown=show)
    for line in outputs.write(report, source):
        echo(line)
    echo(words.summary(report))


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise _error(f"--template-arguments: {text} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise _error(f"--template-arguments: {text} is not a JSON object")
    return value


def _error(message: str) -> Exception:
    from pact_plugins.errors import ConfigurationError

    return ConfigurationError(message)
