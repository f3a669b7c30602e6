"""``pact config``: every setting with its default, from the schema; ``docs/configuration.md`` is its output."""

from __future__ import annotations

import json
from typing import Any

import click

INTRODUCTION = """# Configuration

One schema everywhere: `PACTConfig(kl_coef=1.0)` in Python, the `pact:` block of a YAML file, `pact.kl_coef=1.0` on the
command line. Unknown keys and impossible values are errors that name the key. Where nothing is written,
`preset: gate_anchor` sets `kl_coef: 0`, `gate_training_rows: hard` and `anchor: bundled`; the table has what holds
where no preset sets a key. Written by `pact config --markdown`.
"""


@click.command()
@click.option("--markdown", is_flag=True, help="as docs/configuration.md")
@click.option("--json", "as_json", is_flag=True, help="for machines")
def config(markdown: bool, as_json: bool) -> None:
    """Show every setting with its default.

    \b
    Example: pact config --json
    """
    from pact_plugins.report.terminal import print_table

    columns = ("key", "default", "meaning")
    if markdown:
        click.echo(as_markdown(), nl=False)
    elif as_json:
        click.echo(json.dumps([dict(zip(columns, row, strict=True)) for row in _rows()], indent=1))
    else:
        print_table(columns, _rows(), prose=("meaning",))


def as_markdown() -> str:
    """The text of ``docs/configuration.md``."""
    lines = [INTRODUCTION, "| key | default | meaning |", "|---|---|---|"]
    lines += [f"| `{key}` | `{default}` | {meaning} |" for key, default, meaning in _rows()]
    return "\n".join(lines) + "\n"


def _rows() -> list[tuple[str, str, str]]:
    from pact_plugins.config import NESTED, PACTConfig

    # A block that is always there is shown by its keys alone.
    rows = [_row(name, field) for name, field in PACTConfig.model_fields.items() if name != "gate"]
    blocks = [(block, model.model_fields) for block, model in NESTED.items()]
    return rows + [_row(f"{block}.{name}", field) for block, fields in blocks for name, field in fields.items()]


def _row(name: str, field: Any) -> tuple[str, str, str]:
    default = field.get_default(call_default_factory=True)
    return (
        name,
        "unset" if default is None else str(default).lower() if isinstance(default, bool) else str(default),
        (field.description or ""),
    )
