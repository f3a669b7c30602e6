"""``pact new-plugin``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from pact_plugins.cli.options import OUTPUT_FOLDER
from pact_plugins.new_plugin import DEFAULT_KIND, KINDS, LICENCES, write_plugin


@click.command("new-plugin")
@click.argument("name")
@click.option("-o", "--output", type=OUTPUT_FOLDER, show_default="NAME", help="folder to write, new or empty")
@click.option(
    "--kind",
    "chosen",
    type=click.Choice(list(KINDS)),
    multiple=True,
    default=(DEFAULT_KIND,),
    help=f"what it holds [default: {DEFAULT_KIND}]",
)
@click.option("--license", "licence", type=click.Choice(LICENCES), help="the one you choose; you add its text")
def new_plugin(name: str, output: Path | None, chosen: tuple[str, ...], licence: str | None) -> None:
    """Write a plugin of your own, to install and change.

    NAME is the package's: my-plugin is imported as my_plugin, and registers what it holds under that name.

    \b
    Examples:
      pact new-plugin my-plugin
      pact new-plugin my-plugin --kind judge --kind command --license MIT -o plugins/mine
    """
    from pact_plugins.report.lines import echo

    folder = Path(name) if output is None else output.expanduser()
    kinds = [KINDS[kind] for kind in dict.fromkeys(chosen)]
    files = write_plugin(folder, name, kinds, licence)
    echo(f"{name} ({', '.join(kind.name for kind in kinds)}): {len(files)} files in {folder}; now")
    steps = ["pip install -e '.[test]'", "pytest", "pact plugins   # shows it; README.md says how it is used"]
    if folder != Path():
        steps.insert(0, f"cd {shlex.quote(str(folder))}")
    for step in steps:
        echo(f"  {step}")
