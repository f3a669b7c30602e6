"""``pact train trl CONFIG.yaml``: TRL's own ``trl sft`` script, with a ``pact:`` block in its YAML."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
import yaml

from pact_plugins.cli.options import named_files_exist
from pact_plugins.cli.overrides import take_overrides
from pact_plugins.config import PACTConfig
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import read_settings
from pact_plugins.messages import without_future_warnings
from pact_plugins.settings import merged
from pact_trl.preflight import check, loading_in_one_line, parse, refuse_misspelt_block

USAGE = "usage: pact train trl CONFIG.yaml [--option value ...] [pact.block.key=value ...]"


def train(arguments: Sequence[str]) -> int:
    """Run TRL's supervised fine-tuning script with PACT; returns the exit status.

    Args:
        arguments: the YAML file, then options of ``trl sft`` and ``pact.key=value`` overrides.

    Raises:
        ConfigurationError: no or an unreadable file, or a wrong ``pact`` key.
    """
    if arguments[:1] and arguments[0] in ("-h", "--help"):
        click.echo(f"{USAGE}\n\nCONFIG.yaml holds what `trl sft` takes, and a pact: block; all keys: pact config.")
        return 0
    if not arguments:
        raise ConfigurationError(USAGE)
    path = Path(arguments[0])
    settings = read_settings(path, USAGE)
    refuse_misspelt_block(settings, path)
    overrides, options = take_overrides(arguments[1:])
    config = _config(settings.pop("pact", None), overrides, f"{path}: pact")
    with tempfile.TemporaryDirectory() as folder, _callback_added(config) as script, without_future_warnings():
        rest = Path(folder) / path.name
        rest.write_text(yaml.safe_dump(settings), encoding="utf-8")
        arguments_of_trl = parse(script.make_parser(), settings, ["--config", str(rest), *options], path)
        script_arguments, _, model_arguments, mixture = arguments_of_trl
        model = check(script_arguments, model_arguments, mixture, path)
        with loading_in_one_line(path, model):
            script.main(*arguments_of_trl)
    return 0


def _config(block: Any, overrides: Mapping[str, Any] | None, source: str) -> PACTConfig:
    if overrides and (block is None or block is True):
        block = {}
    if overrides and isinstance(block, dict):
        block = merged(block, overrides)
    config = PACTConfig.from_mapping(block, source=source)
    named_files_exist(config, source)
    return config


@contextmanager
def _callback_added(config: PACTConfig) -> Iterator[Any]:
    """TRL's script module, in which ``SFTTrainer`` comes with our callback.

    The script offers no place for a callback. It looks the class up as ``trl.SFTTrainer`` when it runs, or in older
    versions as a name of its own module.
    """
    import trl
    from trl.scripts import sft as script

    from pact_plugins import PACTCallback

    trainer = trl.SFTTrainer
    protected = partial(trainer, callbacks=[PACTCallback(config)])
    places = [place for place in (trl, script) if hasattr(place, "SFTTrainer")]
    for place in places:
        place.SFTTrainer = protected  # type: ignore[attr-defined]
    try:
        yield script
    finally:
        for place in places:
            place.SFTTrainer = trainer  # type: ignore[attr-defined]
