"""``pact cache build | info | clear``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pact_plugins.cli.options import config_from, config_options

_DTYPES = ("auto", "float32", "bfloat16", "float16")
_KEYS = ("objective", "safety_tokens", "assistant_header", "cache_path")


@click.group()
def cache() -> None:
    """The reference cache (reference: cache): fill it, look at it, empty it."""


@cache.command()
@click.argument("model")
@click.argument("data", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--max-length", type=click.IntRange(min=2), help="cut each row after this many tokens, as the run will")
@click.option("--labels", type=click.Choice(("assistant", "all")), default="assistant", show_default=True,
              help="what a `messages` row teaches: its assistant turns, or all of it")  # fmt: skip
@click.option("--device", default=None, help="where to run [default: cuda if there is one, else cpu]")
@click.option("--dtype", type=click.Choice(_DTYPES), default="auto", show_default=True, help="dtype of the weights")
@click.option("--autocast", type=click.Choice(("bfloat16", "float16")), help="mixed precision of the run (bf16, fp16)")
@click.option("--revision", default=None, help="revision of MODEL on the hub")
@config_options(*_KEYS)
def build(
    model: str,
    data: tuple[str, ...],
    max_length: int | None,
    labels: str,
    device: str | None,
    dtype: str,
    autocast: str | None,
    revision: str | None,
    **values: Any,
) -> None:
    """Compute the reference logits of the aligned MODEL for the chat rows in DATA (JSON or JSONL).

    Rows hold `prompt` and `completion` (or `response`), each a text or a list of messages, or `messages`. A run finds
    them where its own tokens and labels are the same: same chat template, same length limit.
    """
    import torch

    from pact_plugins.cli.loading import load_model
    from pact_plugins.files import read_rows
    from pact_plugins.reference.filling import fill_from_rows

    config = config_from(values)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    rows = [row for file in data for row in read_rows(file, key="DATA")]
    causal_lm, tokenizer = load_model(model, device=device, dtype=dtype, revision=revision)
    precision = None if autocast is None else getattr(torch, autocast)
    count, folder = fill_from_rows(
        causal_lm, tokenizer, rows, config, max_length=max_length, label_all=labels == "all", precision=precision
    )
    click.echo(f"{count} sequences of {model} in {folder}")


@cache.command()
@config_options("cache_path")
def info(**values: Any) -> None:
    """List what the cache folder holds, and how much space it takes."""
    from rich.console import Console
    from rich.table import Table

    from pact_plugins.files import cache_folder
    from pact_plugins.reference.cache.listing import list_stores
    from pact_plugins.report.lines import as_text

    folder = cache_folder(config_from(values).cache_path) / "reference"
    stores = list_stores(folder)
    table = Table()
    columns = ("store", "reference model", "precision", "safety tokens", "sequences", "response tokens", "MB")
    for column in columns:
        table.add_column(column, overflow="fold")
    for store in stores:
        table.add_row(*map(as_text, store.cells))
    console = Console()
    if stores:
        console.print(table)
    total = sum(store.bytes for store in stores)
    console.print(
        f"{len(stores)} stores, {total / 1e6:.1f} MB in {folder}", highlight=False, markup=False, soft_wrap=True
    )


@cache.command()
@click.argument("store", nargs=-1)
@click.option("--yes", is_flag=True, help="do not ask")
@config_options("cache_path")
def clear(store: tuple[str, ...], yes: bool, **values: Any) -> None:
    """Delete each STORE (a name from `pact cache info`), or all of them."""
    from pact_plugins.files import cache_folder
    from pact_plugins.reference.cache.listing import list_stores, remove_store

    folder: Path = cache_folder(config_from(values).cache_path) / "reference"
    known = {listed.name: listed for listed in list_stores(folder)}
    unknown = [name for name in store if name not in known]
    if unknown:
        raise click.BadParameter(f"no such store in {folder}: {', '.join(unknown)}", param_hint="STORE")
    chosen = [known[name] for name in store] or list(known.values())
    if chosen and not yes:
        click.confirm(f"Delete {len(chosen)} stores of {folder}?", abort=True)
    for listed in chosen:
        remove_store(folder, listed.name)
    click.echo(f"{len(chosen)} stores deleted, {sum(listed.bytes for listed in chosen) / 1e6:.1f} MB freed")
