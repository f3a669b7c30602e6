"""``pact config``: every setting with its default, from the schema; ``docs/configuration.md`` is its output."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pact_plugins.settings import Block

INTRODUCTION = """# Configuration

One schema everywhere: `PACTConfig(term={"weight": 1.0})` in Python, the `pact:` block of a YAML file,
`pact.term.weight=1.0` on the command line. Each part of the loss has a block of its own name; `false` or `off` switches
it off, `true` takes its defaults. `preset` sets defaults: what you write wins, and changes nothing else. Unknown keys,
keys without an effect and impossible values are errors that name the key. Written by `pact config --markdown`.
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
    from pact_plugins import plugins

    lines = [INTRODUCTION, "| key | default | meaning |", "|---|---|---|"]
    lines += [f"| `{key}` | `{default}` | {meaning} |" for key, default, meaning in _rows()]
    lines += ["", "## Presets", "", "| preset | | sets |", "|---|---|---|"]
    for preset in plugins.presets().values():
        said = ", ".join(
            f"`{block}: {json.dumps(settings) if settings else 'true'}`" for block, settings in preset.settings.items()
        )
        lines.append(f"| `{preset.name}` | {preset.description} | {said or 'nothing'} |")
    return "\n".join(lines) + "\n"


def _rows() -> list[tuple[str, str, str]]:
    from pact_plugins.config import PACTConfig

    blocks = PACTConfig.blocks()
    rows = [_row(name, field) for name, field in PACTConfig.model_fields.items() if name not in blocks]
    return rows + [row for block, model in blocks.items() for row in _rows_of(block, model)]


def _rows_of(block: str, model: type[Block]) -> list[tuple[str, str, str]]:
    """Of a block, and of the blocks in it."""
    from pact_plugins.settings import Block

    rows = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Block):
            rows += _rows_of(f"{block}.{name}", inner)
        else:
            rows.append(_row(f"{block}.{name}", field))
    return rows


def _row(name: str, field: Any) -> tuple[str, str, str]:
    default = None
    # What depends on other keys says so in its description.
    if not field.default_factory_takes_validated_data:
        default = field.get_default(call_default_factory=True)
    return (
        name,
        "unset" if default is None else str(default).lower() if isinstance(default, bool) else str(default),
        (field.description or ""),
    )
