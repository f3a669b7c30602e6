"""A toy benchmark with a small aligned Llama (825k parameters): aligned, able to drift, shipped with the package.

No download is needed: `aligned_path()` and `base_path()` are ordinary Hugging Face checkpoint folders. Requests, tasks
and the fine-tuning mixture come from templates and are split by hash, so held-out prompts are in no training stage.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pact_lab.tiny_world.mixture import MixtureRow, finetuning_mixture, finetuning_rows
from pact_lab.tiny_world.requests import benign_prompts, harmful_prompts
from pact_lab.tiny_world.responses import label, rates, refusal_pairs
from pact_lab.tiny_world.tasks import TaskExample, is_correct, task_examples
from pact_plugins.errors import ConfigurationError

if TYPE_CHECKING:
    from pact_lab.tiny_world.builder import build
    from pact_lab.tiny_world.evaluation import evaluate

__all__ = [
    "MixtureRow",
    "TaskExample",
    "aligned_path",
    "base_path",
    "benign_prompts",
    "build",
    "evaluate",
    "finetuning_mixture",
    "finetuning_rows",
    "harmful_prompts",
    "is_correct",
    "label",
    "rates",
    "refusal_pairs",
    "task_examples",
]


def aligned_path() -> Path:
    """Folder of the shipped aligned checkpoint, which refuses harmful requests and helps with the others."""
    return _checkpoint("aligned")


def base_path() -> Path:
    """Folder of the shipped base checkpoint, which the aligned one was trained from and which answers everything."""
    return _checkpoint("base")


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is used, so that command-line help and test collection stay fast."""
    if name == "build":
        from pact_lab.tiny_world.builder import build

        return build
    if name == "evaluate":
        from pact_lab.tiny_world.evaluation import evaluate

        return evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _checkpoint(name: str) -> Path:
    folder = Path(str(resources.files(__name__).joinpath("checkpoints", name)))
    if not (folder / "model.safetensors").is_file():
        raise ConfigurationError(
            f"{folder} has no checkpoint; reinstall the package, or run `pact tiny-world build {folder.parent}`"
        )
    return folder
