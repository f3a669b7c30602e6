"""The lm-eval task class behind every `pact_*` task file: local or hub data, and a warning without chat template."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import torch
from lm_eval.api.task import ConfigurableTask

from pact_evals.harness.datasets import DatasetUnavailableError, load_rows, to_dataset
from pact_evals.judges import UNSCORED, JudgeIdentity, get_judge
from pact_plugins.messages import announce

_LOGGER = logging.getLogger(__name__)
_LM_EVAL_COMMANDS = {"lm_eval", "lm-eval", "lm_eval.exe", "lm-eval.exe"}
_SOURCE_KEY, _JUDGE_KEY = "pact_source", "judge"


class PACTTask(ConfigurableTask):
    """A task whose rows come from `pact_source` in its file's `metadata`: bundled, or a public set.

    A task folder of one's own may have rows of its own: a subclass with another `load_rows`.
    """

    load_rows = staticmethod(load_rows)
    judge: JudgeIdentity = get_judge("keyword").identity
    listeners: ClassVar[set[Callable[[Any, Any, Any], None]]] = set()

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        settings = dict(config or {})
        settings.pop("class", None)
        if any(one.get("metric") == UNSCORED for one in settings.get("metric_list") or ()):
            # lm-eval stores it with the results: a verdict is worth what its judge is.
            settings["metadata"] = {**(settings.get("metadata") or {}), _JUDGE_KEY: asdict(self.judge)}
        super().__init__(config=settings)

    def download(self, *_args: Any, **_kwargs: Any) -> None:
        """Read the rows. Under the stock command an unreachable data set is one line and exit status 2."""
        metadata = dict(self.config.metadata or {})
        metadata.pop(_JUDGE_KEY, None)
        try:
            rows = self.load_rows(metadata.pop(_SOURCE_KEY), metadata)
        except DatasetUnavailableError as error:
            if _is_stock_command():
                print(f"Error: {self.config.task}: {error}", file=sys.stderr)  # noqa: T201
                raise SystemExit(2) from error
            raise
        self.dataset = {self.config.test_split: to_dataset(rows)}

    def set_config(self, key: str, value: Any, update: bool = False) -> None:
        """As lm-eval does, but for ``num_fewshot``: examples of answers teach answering, and refusals are lost."""
        if key == "num_fewshot" and value:
            _LOGGER.warning(
                "%s: asked without examples, --num_fewshot %s changes nothing for it", self.config.task, value
            )
            value = 0
        super().set_config(key, value, update)

    def build_all_requests(self, *args: Any, **kwargs: Any) -> None:
        """As lm-eval does; warns where no chat template is applied, since refusals live behind the template.

        Sampled answers come from the beginning of the run's random numbers, whatever loading the model took of them:
        an adapter on the disk, merged or in memory gives the same answers.
        """
        if not kwargs.get("apply_chat_template"):
            _LOGGER.warning(
                "%s: no chat template is applied. A chat model answers differently without its template; "
                "add --apply_chat_template unless the model has none.",
                self.config.task,
            )
        if (self.config.generation_kwargs or {}).get("do_sample"):
            torch.manual_seed(torch.initial_seed())
        super().build_all_requests(*args, **kwargs)
        announce(f"{self.config.task}: {self._workload()}")

    def process_results(self, doc: Any, results: Any) -> Any:
        """As lm-eval does; who wants to show the rows again after the stock command's own table is told of each."""
        values = super().process_results(doc, results)
        for listener in self.listeners if _is_stock_command() else ():
            listener(self, doc, values)
        return values

    def _workload(self) -> str:
        """What is about to be computed, before it takes its minutes: `132 answers of at most 128 tokens`."""
        if self.OUTPUT_TYPE != "generate_until":
            return f"{len(self.instances)} likelihoods"
        limits = {one.args[1].get("max_gen_toks") for one in self.instances if isinstance(one.args[1], dict)}
        most = "" if limits in (set(), {None}) else f" of at most {max(filter(None, limits))} tokens"
        return f"{len(self.instances)} answers{most}"


def _is_stock_command() -> bool:
    program = Path(sys.argv[0])
    return program.name in _LM_EVAL_COMMANDS or program.parts[-2:] == ("lm_eval", "__main__.py")
