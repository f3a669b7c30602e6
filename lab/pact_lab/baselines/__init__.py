"""What others do, as objectives: to be compared with, not recommended.

The framework adds its own cross-entropy, so an objective that replaces it is written as the desired loss minus the
cross-entropy. ``term.weight`` then interpolates: near 0 is plain fine-tuning, 1 (the default) is the method.
"""

from pact_lab.baselines.asft import ASFT
from pact_lab.baselines.constrained_sft import CONSTRAINED_SFT
from pact_lab.baselines.logit_matching import LOGIT_MATCHING

BASELINE_OBJECTIVES = (ASFT, CONSTRAINED_SFT, LOGIT_MATCHING)

__all__ = ["ASFT", "BASELINE_OBJECTIVES", "CONSTRAINED_SFT", "LOGIT_MATCHING"]
