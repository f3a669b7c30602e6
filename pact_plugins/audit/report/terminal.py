"""The report in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pact_plugins.audit.report.result import AuditReport
from pact_plugins.audit.report.words import beginning, facts, first_token_text
from pact_plugins.report.lines import as_text


def print_report(report: AuditReport, console: Console, *, shown: int) -> None:
    """Print counts, rates and the first ``shown`` flagged rows; data as text, never as rich's markup."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    for label, sentence in facts(report):
        table.add_row(label, as_text(sentence))
    console.print(table)
    for index, reason in list(report.unreadable.items())[:shown]:
        console.print(as_text(f"unreadable row {index}: {reason}"))
    if report.flagged and shown:
        console.print(_flagged(report, shown))


def _flagged(report: AuditReport, shown: int) -> Table:
    rows = report.flagged[:shown]
    title = f"the {len(rows)} highest of {len(report.flagged)} flagged rows"
    table = Table(title=title, caption="rows from 0, turns from 1; log p of the row's own first token, in nats")
    for column in ("score", "row", "turn"):
        table.add_column(column, justify="right")
    for column in ("first token, log p", "prompt", "response"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(
            f"{row.score:.4f}",
            str(row.index),
            f"{row.turn}/{row.turns}",
            as_text(first_token_text(row.first_token, row.first_token_log_probability)),
            as_text(beginning(row.prompt, 90)),
            as_text(beginning(row.response, 60)),
        )
    return table
