"""Putting ``stage: pact`` into LLaMA-Factory's own modules, once each, right after they have been imported.

The same functions serve ``pact train llamafactory`` and, after ``pact enable``, the stock ``llamafactory-cli``.
"""

from __future__ import annotations

import functools
from pathlib import Path
from types import ModuleType
from typing import Any

from pact_llamafactory.targets import first_time


def install(tuner: ModuleType) -> None:
    """Teach ``llamafactory.train.tuner`` the stage: here, and in the worker processes that Ray starts."""
    from pact_llamafactory.arguments import take_stage
    from pact_llamafactory.training import put_into

    if not put_into(tuner):
        return
    ray_training_function = tuner._ray_training_function

    @functools.wraps(ray_training_function)
    def train_with_ray(ray_args: Any, config: dict[str, Any]) -> Any:
        from pact_llamafactory.ray_worker import PACTWorker

        stage = take_stage(config["args"])
        if stage is not None:
            stage.config()  # a mistake in it should not wait for a cluster
            tuner.Worker = PACTWorker  # type: ignore[attr-defined]
        return ray_training_function(ray_args, config)

    tuner._ray_training_function = train_with_ray  # type: ignore[attr-defined]
    tuner.export_model = functools.partial(_export, tuner, tuner.export_model)  # type: ignore[attr-defined]


def _export(tuner: ModuleType, original: Any, args: Any = None) -> None:
    """LLaMA-Factory's own export; a model merged from a run under PACT takes the run's record and card along."""
    from pact_plugins.errors import PACTError
    from pact_plugins.messages import announce
    from pact_plugins.model_card.writing import write_card
    from pact_plugins.run_record import FILE_NAME

    args = tuner.read_args(args)
    original(args)
    model_args = tuner.get_infer_args(args)[0]
    adapters = [Path(adapter) for adapter in model_args.adapter_name_or_path or ()]
    # Of several, one protected run says nothing of what they come to together.
    if len(adapters) == 1 and (adapters[0] / FILE_NAME).is_file():
        try:
            write_card(Path(model_args.export_dir), adapters[0])
        except (PACTError, OSError) as error:
            announce(f"the model card says nothing of the training: {error}")


def install_parser(parser: ModuleType) -> None:
    """Let ``export``, ``chat`` and ``api`` read a YAML with ``stage: pact`` (``llamafactory.hparams.parser``)."""
    from pact_llamafactory.arguments import take_stage

    if not first_time(parser):
        return
    original = parser._parse_infer_args

    @functools.wraps(original)
    def parse(args: Any = None) -> Any:
        args = parser.read_args(args)
        stage = take_stage(args)
        return original(args if stage is None else stage.arguments)

    parser._parse_infer_args = parse  # type: ignore[attr-defined]


def install_llamaboard(interface: ModuleType) -> None:
    """Put PACT into the web UI's stage menu and give it a tab of options (``llamafactory.webui.interface``)."""
    from pact_llamafactory.llamaboard import extend

    if first_time(interface):
        extend(interface)


def install_v1(launcher: ModuleType) -> None:
    """Refuse ``stage: pact`` in the v1 code, which would not understand it (``llamafactory.v1.launcher``)."""
    from pact_llamafactory.arguments import take_stage
    from pact_llamafactory.bypasses import refuse_bypasses

    if not first_time(launcher):
        return
    original = launcher.launch

    @functools.wraps(original)
    def launch() -> Any:
        import sys

        from pact_llamafactory.launcher import read_arguments

        stage = take_stage(read_arguments(sys.argv[2:]))
        if stage is not None:
            refuse_bypasses(stage.arguments)
        return original()

    launcher.launch = launch  # type: ignore[attr-defined]
