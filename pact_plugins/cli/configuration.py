"""``pact config``: every setting with its default, from the schema, which writes the pages of the settings."""

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
keys without an effect and impossible values are errors that name the key. `pact config` shows them all.
"""
_HEADER = ["| key | default | meaning |", "|---|---|---|"]


@click.command()
@click.option("--block", help="the settings of this block alone, such as term")
@click.option("--markdown", is_flag=True, help="as the pages of the settings")
@click.option("--json", "as_json", is_flag=True, help="for machines")
def config(block: str | None, markdown: bool, as_json: bool) -> None:
    """Show every setting with its default.

    \b
    Example: pact config --block anchor
    """
    from pact_plugins.config import PACTConfig
    from pact_plugins.report.terminal import print_table

    if block is not None and block not in PACTConfig.blocks():
        raise click.BadParameter(f"no block {block}; blocks: {', '.join(PACTConfig.blocks())}", param_hint="--block")
    columns = ("key", "default", "meaning")
    rows = _all_rows() if block is None else _rows_of(block, PACTConfig.blocks()[block])
    if markdown:
        click.echo(overview() if block is None else block_page(block), nl=False)
    elif as_json:
        click.echo(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1))
    else:
        print_table(columns, rows, prose=("meaning",))


def overview() -> str:
    """The text of ``docs/configuration.md``: what belongs to no block, the blocks, the presets."""
    from pact_plugins import plugins
    from pact_plugins.config import PACTConfig

    lines = [INTRODUCTION, *_HEADER, *map(_line, _top_rows())]
    lines += ["", "## Blocks", "", "| block | |", "|---|---|"]
    lines += [f"| [`{name}`](settings/{name}.md) | {_said(model)} |" for name, model in PACTConfig.blocks().items()]
    lines += ["", "## Presets", "", "| preset | | sets |", "|---|---|---|"]
    for preset in plugins.presets().values():
        said = ", ".join(
            f"`{block}: {json.dumps(settings) if settings else 'true'}`" for block, settings in preset.settings.items()
        )
        lines.append(f"| `{preset.name}` | {preset.description} | {said or 'nothing'} |")
    return "\n".join(lines) + "\n"


def block_page(name: str) -> str:
    """The text of ``docs/settings/<name>.md``."""
    from pact_plugins.config import PACTConfig

    model = PACTConfig.blocks()[name]
    rows = _rows_of(name, model)
    return "\n".join([f"# `{name}`", "", _said(model), "", *_HEADER, *map(_line, rows)]) + "\n"


def _said(model: type[Block]) -> str:
    return (model.__doc__ or "").strip().split("\n")[0]


def _line(row: tuple[str, str, str]) -> str:
    key, default, meaning = row
    return f"| `{key}` | `{default}` | {meaning} |"


def _top_rows() -> list[tuple[str, str, str]]:
    from pact_plugins.config import PACTConfig

    blocks = PACTConfig.blocks()
    return [_row(name, field) for name, field in PACTConfig.model_fields.items() if name not in blocks]


def _all_rows() -> list[tuple[str, str, str]]:
    from pact_plugins.config import PACTConfig

    return _top_rows() + [row for block, model in PACTConfig.blocks().items() for row in _rows_of(block, model)]


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
