"""What is compared on: a model with its data, its calibration and its evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pact_lab.compare.scenario import Scenario
from pact_plugins import PACTConfig
from pact_plugins.contracts import Row
from pact_plugins.files import read_rows, write_json
from pact_plugins.safety_tokens.recipe import gather_refusals


class Subject(Protocol):
    """A model that is fine-tuned in every run.

    Attributes:
        identity: what its numbers depend on, for the keys of runs.
        common: settings of ``PACTConfig`` that all methods share: prompts for calibration and the cache, so that
            safety tokens and anchors are found once a model and not once a run.
        row_count: training rows in a run, for the progress bar.
    """

    identity: Mapping[str, Any]
    common: Mapping[str, Any]
    row_count: int

    def load(self) -> tuple[Any, Any]:
        """A fresh aligned model, and its tokenizer."""
        ...

    def rows(self, scenario: Scenario, seed: int) -> list[Row]:
        """Training rows in TRL's conversational prompt/completion form."""
        ...

    def evaluate(self, model: Any, tokenizer: Any, seed: int, scenario: Scenario | None) -> dict[str, Any]:
        """Verdicts as letters under ``harmful``, ``harmful_sampled`` and ``benign``; ``task`` as numbers in [0, 1].

        ``scenario`` is what the model was trained on, None for the aligned one.
        """
        ...


def refusals_of(subject: Subject, folder: Path) -> Sequence[Mapping[str, str]]:
    """The aligned model's own refusals of the calibration prompts, sampled once and kept in ``folder``."""
    path = folder / "refusals.json"
    if not path.is_file():
        model, tokenizer = subject.load()
        config = PACTConfig.from_mapping(subject.common)
        found = gather_refusals(model, tokenizer, config.recipe(), progress=False)
        texts = tokenizer.batch_decode([list(one.response_ids) for one in found], skip_special_tokens=True)
        write_json(path, [{"prompt": one.prompt, "response": text} for one, text in zip(found, texts, strict=True)])
    return read_rows(path, key="refusals")
