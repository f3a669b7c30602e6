"""What the task files beside it call."""

from pact_lab.tiny_world.harness import TinyTask, tiny_accuracy, tiny_label

__all__ = ["TinyTask", "tiny_accuracy", "tiny_label"]
