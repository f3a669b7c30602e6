"""``axolotl pact eval CONFIG``: ``pact eval`` on what an Axolotl configuration started from and what came out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import click

from pact_plugins.errors import ConfigurationError
from pact_plugins.files import read_settings

_USAGE = "usage: axolotl pact eval CONFIG.yml [--base-model MODEL] [options of pact eval]"
# Axolotl's own default.
_DEFAULT_OUTPUT = "./model-out"


def evaluate(arguments: Sequence[str]) -> int:
    """Evaluate the base model and the trained one of a configuration.

    Args:
        arguments: the YAML file, then ``--base-model`` and options of ``pact eval``; the results go to ``pact_eval`` in
            the output folder unless ``--output`` says otherwise.

    Raises:
        ConfigurationError: no such file, no base model in it, nothing trained yet.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        click.echo(f"{_USAGE}\n")
        return _pact_eval(["--help"])
    base, trained = models(Path(arguments[0]))
    # What training may have been given beside the YAML, as axolotl's own option.
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--base-model", default=base)
    given, options = parser.parse_known_args(arguments[1:])
    base = given.base_model
    if not any(option.partition("=")[0] in ("-o", "--output") for option in options):
        options += ["--output", str(trained / "pact_eval")]
    # The adapter's own record of its base model may be a path of another machine; the YAML is what the user edits.
    if (trained / "adapter_config.json").is_file():
        return _pact_eval([f"before={base}", "--adapter", f"trained={trained}", *options])
    return _pact_eval([f"before={base}", f"trained={trained}", *options])


def models(file: Path) -> tuple[str, Path]:
    """``base_model`` and the trained model's folder of an Axolotl YAML."""
    settings = read_settings(file, _USAGE)
    if not settings.get("base_model"):
        raise ConfigurationError(f"{file}: names no base_model")
    trained = Path(settings.get("output_dir") or _DEFAULT_OUTPUT)
    if not any((trained / name).is_file() for name in ("adapter_config.json", "config.json")):
        raise ConfigurationError(f"{trained} holds no trained model yet; run axolotl train {file}")
    return str(settings["base_model"]), trained


def _pact_eval(arguments: Sequence[str]) -> int:
    from pact_plugins.cli.main import cli
    from pact_plugins.plugins import get_plugin_manager

    get_plugin_manager().hook.register_commands(cli=cli)
    command = cli.commands.get("eval")
    if command is None:
        raise ConfigurationError("pact eval needs pip install 'pact-plugins[eval]'")
    command.main(args=list(arguments), prog_name="axolotl pact eval", standalone_mode=False)
    return 0
