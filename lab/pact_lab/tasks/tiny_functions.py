"""What the task files beside it call."""

from pact_evals.shown import shown_again
from pact_lab.tiny_world.harness import TinyTask, tiny_accuracy, tiny_label

TinyTask.listeners.add(shown_again)

__all__ = ["TinyTask", "tiny_accuracy", "tiny_label"]
