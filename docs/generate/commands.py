"""``docs/commands.md``: every command with its options, from the command line itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

INTRODUCTION = """# Every command

Commands come from plugins, these from the package itself; `pact COMMAND --help` shows the same. Written by `make
pages`.
"""


def page() -> str:
    """The page's text."""
    from pact_plugins import plugins
    from pact_plugins.cli import cli

    plugins.get_plugin_manager().hook.register_commands(cli=cli)
    context = click.Context(cli, info_name="pact")
    sections = [_section(command, within) for command, within in walk(cli, context) if command is not cli]
    return "\n".join([INTRODUCTION, *sections])


def walk(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """The command and every one below it, each with the context that knows its full name."""
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                yield from walk(found, click.Context(found, info_name=name, parent=context))


def _section(command: click.Command, context: click.Context) -> str:
    level = "##" if context.parent is not None and context.parent.parent is None else "###"
    lines = [f"{level} `{context.command_path}`", "", *_paragraphs(command.help), *_usage(command, context)]
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    if options:
        lines += ["| option | | default |", "|---|---|---|", *(_row(option, context) for option in options), ""]
    return "\n".join([*lines, *_paragraphs(command.epilog)])


def _usage(command: click.Command, context: click.Context) -> list[str]:
    if isinstance(command, click.Group):
        return []
    pieces = [piece for piece in command.collect_usage_pieces(context) if piece]
    return [f"    {' '.join([context.command_path, *pieces])}", ""]


def _paragraphs(text: str | None) -> Iterator[str]:
    """The help's paragraphs; one that begins with click's mark against wrapping stays as it is written."""
    for paragraph in inspect.cleandoc(text or "").split("\n\n"):
        lines = paragraph.split("\n")
        if lines[0].strip() == "\b":
            yield from (f"    {line}" for line in lines[1:])
            yield ""
        elif paragraph.strip():
            yield from (_escaped(" ".join(paragraph.split())), "")


def _row(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    metavar = "" if option.is_flag or option.count else f" {_escaped(option.make_metavar(context))}"
    repeatable = " (repeatable)" if option.multiple and "repeatable" not in (option.help or "") else ""
    return f"| {names}{metavar} | {_escaped(option.help or '')}{repeatable} | {_default(option, context)} |"


def _default(option: click.Option, context: click.Context) -> str:
    if option.required:
        return "required"
    value = option.get_default(context)
    if isinstance(value, bool):
        names = option.opts if value else option.secondary_opts
        return f"`{names[0]}`" if option.secondary_opts else ""
    return f"`{value}`" if isinstance(value, str | int | float | Path) and str(value) else ""


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")
