"""The process that Ray starts, with the stage in it: it has no part in what was installed in the driver."""

from __future__ import annotations

from typing import Any

from llamafactory.train import tuner

from pact_llamafactory.training import put_into


class PACTWorker(tuner.Worker):
    """LLaMA-Factory's own worker; Ray pickles it by name, so importing this module is what the new process does."""

    def _training_function(self, config: dict[str, Any]) -> None:
        put_into(tuner)
        super()._training_function(config)
