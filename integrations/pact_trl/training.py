"""``pact train trl CONFIG.yaml``: TRL's own ``trl sft`` script, with a ``pact:`` block in its YAML."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from pact_plugins import PACTCallback, PACTConfig
from pact_plugins.errors import ConfigurationError

USAGE = "usage: pact train trl CONFIG.yaml [--option value ...] [pact.key=value ...]"


def train(arguments: Sequence[str]) -> int:
    """Run TRL's supervised fine-tuning script with PACT; returns the exit status.

    Args:
        arguments: the YAML file, then options of ``trl sft`` and ``pact.key=value`` overrides.

    Raises:
        ConfigurationError: no or an unreadable file, or a wrong ``pact`` key.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        raise ConfigurationError(USAGE)
    path = Path(arguments[0])
    settings = _read(path)
    block = settings.pop("pact", None) or {}
    overrides = [argument for argument in arguments[1:] if argument.startswith("pact.")]
    options = [argument for argument in arguments[1:] if not argument.startswith("pact.")]
    config = PACTConfig.from_mapping({**block, **_parse(overrides)}, source=f"{path}: pact")
    with tempfile.TemporaryDirectory() as folder, _callback_added(config) as script:
        rest = Path(folder) / path.name
        rest.write_text(yaml.safe_dump(settings), encoding="utf-8")
        parsed = script.make_parser().parse_args_and_config(["--config", str(rest), *options])
        script.main(*parsed)
    return 0


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such file. {USAGE}")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {error}") from None
    if not isinstance(settings, dict):
        raise ConfigurationError(f"{path} holds no mapping of settings")
    return settings


def _parse(overrides: Sequence[str]) -> dict[str, Any]:
    """``pact.gate.alpha=1`` to ``{"gate": {"alpha": 1}}``; values are read as YAML."""
    result: dict[str, Any] = {}
    for override in overrides:
        key, separator, value = override.removeprefix("pact.").partition("=")
        if not separator:
            raise ConfigurationError(f"{override}: write pact.key=value")
        *parents, last = key.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = yaml.safe_load(value)
    return result


@contextmanager
def _callback_added(config: PACTConfig) -> Iterator[Any]:
    """TRL's script module, in which ``SFTTrainer`` comes with our callback.

    The script offers no place for a callback. It looks the class up as ``trl.SFTTrainer`` when it runs, or in older
    versions as a name of its own module.
    """
    import trl
    from trl.scripts import sft as script

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
