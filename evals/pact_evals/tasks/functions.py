"""What the task files call: lm-eval 0.4.11, which Axolotl pins, looks for functions beside the YAML alone."""

from pact_evals.harness.scoring import (
    agnews_prompt,
    gsm8k_prompt,
    judged,
    label_accuracy,
    number_accuracy,
    openings,
    refusal_margin,
    sst2_prompt,
)
from pact_evals.harness.task import PACTTask
from pact_evals.shown import shown_again

PACTTask.listeners.add(shown_again)

__all__ = [
    "PACTTask",
    "agnews_prompt",
    "gsm8k_prompt",
    "judged",
    "label_accuracy",
    "number_accuracy",
    "openings",
    "refusal_margin",
    "sst2_prompt",
]
