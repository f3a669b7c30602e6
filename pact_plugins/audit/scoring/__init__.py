"""From conversations to scores: encoding, the model's first-token masses, threshold, detection."""

from pact_plugins.audit.scoring.detection import Detection, detection
from pact_plugins.audit.scoring.rates import Rate
from pact_plugins.audit.scoring.threshold import Threshold

__all__ = ["Detection", "Rate", "Threshold", "detection"]
