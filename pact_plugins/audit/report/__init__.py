"""What an audit found: as data, in the terminal, as a page."""

from pact_plugins.audit.report.result import AuditReport, FlaggedRow

__all__ = ["AuditReport", "FlaggedRow"]
