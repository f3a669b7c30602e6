"""The plugin class that Axolotl loads."""

from __future__ import annotations

import logging
from typing import Any

from axolotl.integrations.base import BasePlugin

from pact_axolotl import settings
from pact_axolotl.stock_command import say_errors_in_one_line
from pact_plugins import messages
from pact_plugins.run_record import warn_of_half_written_checkpoint
from pact_plugins.training import PACTCallback


class PACTPlugin(BasePlugin):
    """Adds the PACT term to the loss of Axolotl's supervised fine-tuning.

    Axolotl keeps one instance for all configurations of a process, also for those that do not list it.
    """

    def register(self, cfg: Any) -> None:
        """Check the YAML before Axolotl does: it ignores keys that it does not know.

        Raises:
            ConfigurationError: names the key.
        """
        # Axolotl drops lines below WARNING of every logger but its own.
        messages.speak_through(logging.getLogger("axolotl.pact"))
        say_errors_in_one_line()
        settings.check(cfg)
        _redact_our_paths()

    def get_input_args(self) -> str:
        """Where Axolotl finds the schema of the ``pact:`` block."""
        return "pact_axolotl.arguments.PACTArguments"

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        """The callback that does the work.

        Raises:
            ConfigurationError: an option that only Axolotl's validation has filled in is not supported.
        """
        config = settings.check(cfg)
        if config is None:
            return []
        warn_of_half_written_checkpoint(trainer.args.output_dir)
        return [PACTCallback(config, trainer=trainer if _computes_its_own_loss(trainer) else None)]


def _redact_our_paths() -> None:
    """Axolotl's telemetry sends the configuration, without keys that look like paths; ours do not all."""
    from axolotl.telemetry import manager

    manager.FIELDS_TO_REDACT.update(settings.PATHS)


def _computes_its_own_loss(trainer: Any) -> bool:
    """Whether the loss that is back-propagated is not the model's ``outputs.loss``: EAFT, label smoothing ..."""
    from axolotl.core.trainers.base import AxolotlTrainer

    return (
        trainer.compute_loss_func is not None
        or bool(trainer.args.label_smoothing_factor)
        or type(trainer).compute_loss is not AxolotlTrainer.compute_loss
    )
