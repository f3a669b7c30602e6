"""``pact cache build | info | clear``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from pact_plugins.cli.options import DTYPES, a_model, config_from, config_options, paths_exist


@click.group()
def cache() -> None:
    """Fill, list and empty the cache of what the reference said.

    \b
    Examples:
      pact cache build org/model data.jsonl
      pact cache info
      pact cache clear --yes
    """


@cache.command()
@click.argument("model")
@click.argument("data", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--max-length", type=click.IntRange(min=2), help="cut each row after this many tokens, as the run will")
@click.option("--device", default=None, help="where to run [default: cuda if there is one, else cpu]")
@click.option("--dtype", type=click.Choice(DTYPES), default="auto", show_default=True, help="dtype of the weights")
@click.option("--autocast", type=click.Choice(("bfloat16", "float16")), help="mixed precision of the run (bf16, fp16)")
@click.option("--revision", default=None, help="revision of MODEL on the hub")
@click.option("--dry-run", is_flag=True, help="say what it would take, time and disk; no logits are kept")
@click.option("--objective", "term__objective", default=None, help="of the term, where the run has one")
@click.option("--row-gate", "row_gate__mode", default=None, help="mode of the row gate, where the run has one")
@click.option("--row-gate-threshold", "row_gate__threshold", type=float, default=None, help="of the row gate")
@config_options(
    preset="preset",
    safety_tokens="safety_tokens.file",
    assistant_header="reference.assistant_header",
    cache_path="reference.cache_path",
)
def build(
    model: str,
    data: tuple[str, ...],
    max_length: int | None,
    device: str | None,
    dtype: str,
    autocast: str | None,
    revision: str | None,
    dry_run: bool,
    **values: Any,
) -> None:
    """Compute the reference logits of MODEL for the rows in DATA.

    MODEL is the aligned model, DATA chat rows as JSON, JSONL or Parquet. Rows hold `messages`, `conversations`,
    `instruction` with `output`, or `prompt` with `completion` (or `response`), each a text or messages. A run finds
    them where its own tokens and responses are the same (same chat template, same length limit), and where it asks the
    same: same preset, or same objective and row gate.

    \b
    Example: pact cache build org/model data.jsonl --max-length 1024 --autocast bfloat16
    """
    # Before torch is imported, which takes seconds.
    paths_exist({"--safety-tokens": values["safety_tokens__file"]})
    a_model(model, "MODEL")
    import torch

    from pact_plugins.cli.loading import load_model
    from pact_plugins.reference.filling import RowsToCache, read_chat_rows, sequences_of_rows
    from pact_plugins.training.preparation import context_without_trainer

    config = config_from(values)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    rows = [row for file in data for row in read_chat_rows(file)]
    causal_lm, tokenizer = load_model(model, device=device, dtype=dtype, revision=revision)
    precision = None if autocast is None else getattr(torch, autocast)
    sequences = sequences_of_rows(tokenizer, rows, max_length=max_length)
    context = context_without_trainer(causal_lm, tokenizer, config, precision)
    of_rows = RowsToCache(context, sequences)
    if dry_run:
        click.echo(f"{of_rows.predict()}; in {of_rows.folder}")
        return
    click.echo(f"{of_rows.fill()} sequences of {model} in {of_rows.folder}")


@cache.command()
@click.option("--json", "as_json", is_flag=True, help="for machines")
@config_options(cache_path="reference.cache_path")
def info(as_json: bool, **values: Any) -> None:
    """List what the cache folder holds, and its size.

    \b
    Example: pact cache info --json
    """
    from pact_plugins.files import cache_folder
    from pact_plugins.reference.cache.listing import list_stores
    from pact_plugins.report.terminal import print_table

    folder = cache_folder(config_from(values).reference.cache_path)
    stores = list_stores(folder)
    if as_json:
        listed = [{"name": store.path.name, **asdict(store)} for store in stores]
        click.echo(json.dumps({"folder": str(folder), "stores": listed}, indent=1, default=str))
        return
    columns = ("store", "holds", "reference model", "precision", "entries", "response tokens", "bytes a token", "MB")
    if stores:
        print_table(columns, [store.cells for store in stores], numbers=columns[4:])
    total = sum(store.bytes for store in stores)
    click.echo(f"{len(stores)} stores, {total / 1e6:.1f} MB in {folder}")


@cache.command()
@click.argument("store", nargs=-1)
@click.option("--yes", is_flag=True, help="do not ask")
@config_options(cache_path="reference.cache_path")
def clear(store: tuple[str, ...], yes: bool, **values: Any) -> None:
    """Delete each STORE (a name from `pact cache info`), or all.

    \b
    Example: pact cache clear --yes
    """
    from pact_plugins.files import cache_folder
    from pact_plugins.reference.cache.listing import list_stores, remove_store

    folder = cache_folder(config_from(values).reference.cache_path)
    known = {listed.path.name: listed for listed in list_stores(folder)}
    unknown = [name for name in store if name not in known]
    if unknown:
        raise click.BadParameter(f"no such store in {folder}: {', '.join(unknown)}", param_hint="STORE")
    chosen = [known[name] for name in store] or list(known.values())
    if chosen and not yes:
        click.confirm(f"Delete {len(chosen)} stores of {folder}?", abort=True)
    for listed in chosen:
        remove_store(listed.path)
    click.echo(f"{len(chosen)} stores deleted, {sum(listed.bytes for listed in chosen) / 1e6:.1f} MB freed")
