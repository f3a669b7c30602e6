"""``pact audit``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pact_plugins.cli.options import DTYPES, OUTPUT_FILE, a_model, paths_exist
from pact_plugins.files import is_missing, parse_json

_FILE = click.Path(dir_okay=False, path_type=Path)
_FORMATS = (".json", ".jsonl", ".parquet")
_STANDARD_OUTPUT = Path("-")


@click.command()
@click.argument("model")
@click.argument("data")
@click.option("--split", default=None, help="split of a hub data set [default: train]")
@click.option("--config", default=None, help="configuration of a hub data set")
@click.option(
    "--threshold", default="gate", show_default=True, help="flag rows above this refusal mass; gate: as training would"
)
@click.option("--false-positive-rate", type=float, default=None, help="of --threshold auto [default: 0.01]")
@click.option("--filtered", type=OUTPUT_FILE, default=None, help="write the data without the flagged rows")
@click.option("--flagged", type=OUTPUT_FILE, default=None, help="write the flagged rows")
@click.option("--overwrite", is_flag=True, help="let --filtered and --flagged replace files")
@click.option("--json", "json_path", type=OUTPUT_FILE, default=None, help="write the report as JSON; - prints it")
@click.option("--html", "html_path", type=OUTPUT_FILE, default=None, help="write the report as one HTML page")
@click.option("--skip-unreadable", is_flag=True, help="list rows that cannot be read, instead of stopping")
@click.option("--show", type=click.IntRange(min=0), default=10, show_default=True, help="flagged rows to print")
@click.option(
    "--safety-tokens", type=_FILE, default=None, help="opening tokens of this file; else learnt from the prompts"
)
@click.option("--harmful-prompts", default=None, help="JSON or JSONL prompts that MODEL refuses; else the bundled ones")
@click.option("--harmless-prompts", default=None, help="JSON or JSONL prompts that it helps with; else bundled")
@click.option("--template-arguments", default=None, help='JSON for the chat template: {"enable_thinking": false}')
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="rows read at once")
@click.option("--device", default=None, help="where to run [default: cuda if there is one, else cpu]")
@click.option("--dtype", type=click.Choice(DTYPES), default="auto", show_default=True, help="dtype of the weights")
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
    """Find the rows of DATA that the aligned MODEL refuses.

    MODEL is a path or hub id; DATA a file or a hub data set: chat, prompt/completion, alpaca or sharegpt rows as JSON,
    JSONL or Parquet. It is never changed.

    \b
    Examples:
      pact audit org/model data.jsonl --html audit.html
      pact audit org/model data.jsonl --filtered kept.jsonl --flagged flagged.jsonl
      pact audit org/model data.jsonl --json - | jq .flagged
    """
    # What was typed is looked at before torch is imported, and a model loaded.
    files = {"--safety-tokens": safety_tokens, "--harmful-prompts": harmful_prompts}
    paths_exist({**files, "--harmless-prompts": harmless_prompts})
    a_model(model, "MODEL")
    if is_missing(data) or (data.endswith(_FORMATS) and not Path(data).is_file()):
        raise _error(f"DATA: no such file: {data}")
    if false_positive_rate is not None and threshold != "auto":
        raise _error("--false-positive-rate needs --threshold auto")
    if html_path is not None:
        from pact_plugins.compatibility import require

        require("matplotlib")
    import torch

    from pact_plugins.audit.auditing import audit as run
    from pact_plugins.audit.outputs import Outputs
    from pact_plugins.audit.report import words
    from pact_plugins.audit.report.terminal import print_report
    from pact_plugins.audit.scoring.threshold import DEFAULT_FALSE_POSITIVE_RATE
    from pact_plugins.cli.loading import load_model
    from pact_plugins.conversation.reading import open_source
    from pact_plugins.report.lines import echo
    from pact_plugins.safety_tokens import SafetyTokens
    from pact_plugins.safety_tokens.refusals import read_prompts

    harmful = None if harmful_prompts is None else read_prompts(harmful_prompts, key="--harmful-prompts")
    harmless = None if harmless_prompts is None else read_prompts(harmless_prompts, key="--harmless-prompts")
    tokens = None if safety_tokens is None else SafetyTokens.load(safety_tokens)
    arguments = None if template_arguments is None else _json_object(template_arguments)
    source = open_source(data, split=split, config=config)
    printed = json_path == _STANDARD_OUTPUT
    json_file = None if printed else json_path
    outputs = Outputs(filtered=filtered, flagged=flagged, json=json_file, html=html_path, overwrite=overwrite)
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
    if printed:
        click.echo(json.dumps({"data": source.name, **report.as_dict()}, ensure_ascii=False))
    else:
        print_report(report, shown=show)
    for line in (*outputs.write(report, source), words.summary(report), *words.warnings(report)):
        echo(line, err=printed)


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
