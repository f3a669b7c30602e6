"""``llamafactory-cli`` with PACT in it, without anything written into the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pact_llamafactory.arguments import STAGE, take_stage
from pact_llamafactory.bypasses import refuse_bypasses
from pact_llamafactory.preflight import check_places
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import read_settings

_YAML = (".yaml", ".yml")
_USAGE = "usage: pact train llamafactory CONFIG.yaml [key=value ...]"
_WORKER = Path(__file__).with_name("worker.py")


def launch_training(arguments: Sequence[str]) -> int:
    """Run a training with PACT in it: another stage has to be asked for where nobody expects protection.

    Raises:
        ConfigurationError: as in ``launch``, or the stage is another one.
    """
    asks_for_help = not {"-h", "--help"}.isdisjoint(arguments)
    if not asks_for_help and take_stage(read_arguments(arguments)) is None:
        given = " ".join(arguments[:1])
        if not given or (not given.endswith((*_YAML, ".json")) and not given.startswith("-")):
            raise ConfigurationError(
                f"{given or 'no configuration'}: neither a YAML or JSON file nor an option. {_USAGE}"
            )
        raise ConfigurationError(
            f"{given}: the stage is not {STAGE}, so the run would be unprotected: set stage: {STAGE} (or add "
            f"stage={STAGE} to the command), or train with llamafactory-cli"
        )
    return launch(["train", *arguments])


def launch(arguments: Sequence[str]) -> int:
    """Run one command of ``llamafactory-cli`` and return its exit status.

    Torchrun, rendezvous, restarts, Ray: LLaMA-Factory's own launcher starts them, but with our worker file.

    Args:
        arguments: the command and its arguments, such as ``["train", "cfg.yaml", "pact.term.weight=1"]``.

    Raises:
        ConfigurationError: LLaMA-Factory is not installed, or the run cannot be protected; before any process starts.
    """
    if list(arguments[:1]) == ["train"]:
        _check(arguments[1:])
    launcher = _stock_launcher()
    _install()
    launcher.__file__ = str(_WORKER)
    # torchrun lives beside the interpreter, which need not be on the PATH.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    sys.argv = ["llamafactory-cli", *arguments]
    try:
        launcher.launch()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


def read_arguments(arguments: Sequence[str]) -> dict[str, Any] | list[str]:
    """The arguments of ``train`` as LLaMA-Factory reads them: a file with overrides merged in, or options.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    if not arguments or not arguments[0].endswith((*_YAML, ".json")):
        return list(arguments)
    if arguments[0].endswith(_YAML):
        read_settings(Path(arguments[0]), _USAGE)
    try:
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
        from yaml import YAMLError
    except ImportError as error:
        raise ConfigurationError(_not_installed(error)) from error
    try:
        content = OmegaConf.load(Path(arguments[0]).absolute())
        return OmegaConf.to_container(OmegaConf.merge(content, OmegaConf.from_cli(list(arguments[1:]))))  # type: ignore
    except (OSError, YAMLError, OmegaConfBaseException) as error:
        raise ConfigurationError(f"{arguments[0]} cannot be read: {' '.join(str(error).split())}") from error


def _check(arguments: Sequence[str]) -> None:
    stage = take_stage(read_arguments(arguments))
    if stage is not None:
        config = stage.config()
        refuse_bypasses(stage.arguments)
        check_places(stage.arguments, config)


def _stock_launcher() -> Any:
    try:
        from llamafactory import launcher
    except ImportError as error:
        raise ConfigurationError(_not_installed(error)) from error
    return launcher


def _not_installed(error: ImportError) -> str:
    return f"LLaMA-Factory cannot be imported ({error}): pip install 'pact-plugins[llamafactory]'"


def _install() -> None:
    """What `pact enable` does, for this process alone: asked for by name, it is not subject to PACT_DISABLE."""
    from pact_llamafactory.targets import TARGETS
    from pact_plugins.activation import hook

    if not hook.is_installed():
        sys.meta_path.insert(0, hook.ImportHook(TARGETS))  # type: ignore[arg-type]
    for name, function in TARGETS.items():
        if name in sys.modules:
            hook.apply(sys.modules[name], function)
