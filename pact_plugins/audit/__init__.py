"""The audit: which training rows ask for what the aligned model would refuse; found before training, by the model."""

from pact_plugins.audit.auditing import audit
from pact_plugins.audit.report import AuditReport, FlaggedRow
from pact_plugins.audit.scoring import Detection, Rate, Threshold, detection
from pact_plugins.conversation.reading import open_source

__all__ = [
    "AuditReport",
    "Detection",
    "FlaggedRow",
    "Rate",
    "Threshold",
    "audit",
    "detection",
    "open_source",
]
