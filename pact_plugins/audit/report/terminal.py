"""The report in the terminal."""

from __future__ import annotations

import sys

from pact_plugins.audit.report.result import AuditReport, FlaggedRow
from pact_plugins.audit.report.words import beginning, facts, first_token_text
from pact_plugins.report.lines import echo
from pact_plugins.report.terminal import print_table

_COLUMNS = ("score", "row", "turn", "first token, log p", "prompt", "response")


def print_report(report: AuditReport, *, shown: int) -> None:
    """Print counts, rates and the first ``shown`` flagged rows to standard output."""
    print_table(("about", "what was found"), facts(report), prose=("what was found",))
    for index, reason in list(report.unreadable.items())[:shown]:
        echo(f"unreadable row {index}: {reason}")
    if report.flagged and shown:
        rows = report.flagged[:shown]
        title = (
            f"\nThe {len(rows)} highest of {len(report.flagged)} flagged rows; rows from 0, turns from 1; log p of the "
            "row's own first token, in nats"
        )
        print_table(_COLUMNS, [_cells(row) for row in rows], numbers=_COLUMNS[:3], prose=_COLUMNS[4:], title=title)
        sys.stdout.write("\n")


def _cells(row: FlaggedRow) -> tuple[str, ...]:
    return (
        f"{row.score:.4f}",
        str(row.index),
        f"{row.turn}/{row.turns}",
        first_token_text(row.first_token, row.first_token_log_probability),
        beginning(row.prompt, 90),
        beginning(row.response, 60),
    )
