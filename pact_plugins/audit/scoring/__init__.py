"""From conversations to scores: encoding, the model's first-token masses, threshold, detection."""

from pact_plugins.audit.scoring.detection import Detection, detection
from pact_plugins.audit.scoring.threshold import Threshold
from pact_plugins.report.intervals import Rate

__all__ = ["Detection", "Rate", "Threshold", "detection"]
