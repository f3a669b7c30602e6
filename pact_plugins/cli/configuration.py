"""``pact config``: every setting with its default, from the schema; ``docs/configuration.md`` is its output."""

from __future__ import annotations

from typing import Any

import click

INTRODUCTION = """# Configuration

One schema everywhere: `PACTConfig(kl_coef=1.0)` in Python, the `pact:` block of a YAML file, `pact.kl_coef=1.0` on the
command line. Unknown keys and impossible values are errors that name the key. Written by `pact config --markdown`.
"""


@click.command()
@click.option("--markdown", is_flag=True, help="as docs/configuration.md")
def config(markdown: bool) -> None:
    """Show every setting with its default."""
    from rich.console import Console
    from rich.table import Table

    if markdown:
        click.echo(as_markdown(), nl=False)
        return
    table = Table()
    for column in ("key", "default", "meaning"):
        table.add_column(column, overflow="fold")
    for row in _rows():
        table.add_row(*row)
    Console().print(table)


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
