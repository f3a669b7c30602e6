"""Which tokens carry safety: scoring (pure), calibration (runs models), the artifact."""

from pact_plugins.safety_tokens.artifact import SafetyTokens
from pact_plugins.safety_tokens.scoring import direction_from_scores, safety_direction

__all__ = ["SafetyTokens", "direction_from_scores", "safety_direction"]
