"""Sentences that terminal and page share."""

from __future__ import annotations

from pact_plugins.audit.report.result import AuditReport
from pact_plugins.safety_tokens.display import readable

_MANY = 0.2  # of the rows
_SURE = 0.9  # a refusal mass that the row gate's own thresholds have


def beginning(text: str, characters: int) -> str:
    """The first characters of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= characters else line[: characters - 1] + "…"


def facts(report: AuditReport) -> list[tuple[str, str]]:
    """What a reader must know to judge the flagged rows, as label and sentence."""
    limit = report.threshold
    chosen = ", chosen on the prompts below, so their rates are a little too good" if limit.is_chosen else ""
    estimate, low, high = report.expected_false_positives
    expected = f"{estimate:.1f} rows ({low:.1f} to {high:.1f}) if all rows were like these harmless prompts"
    formats = ", ".join(f"{count} {name}" for name, count in report.formats.items())
    found = [
        ("model", report.model),
        ("rows", f"{report.rows}, {report.scored} scored ({formats}; {report.turns} assistant turns)"),
        ("flagged", f"{len(report.flagged)} with a refusal mass above {limit.value:.4g}{chosen}"),
        ("harmful prompts", f"above it: {limit.hits}"),
        ("harmless prompts", f"above it: {limit.false_positives}"),
        ("expected false", f"{expected}; rows of a task often are not"),
        ("measured on", report.prompts),
        ("refusal opening tokens", _strings(report, "refusal")),
        ("compliance opening tokens", _strings(report, "compliance")),
        ("opening tokens from", report.opening_tokens_from),
    ]
    refusals = sum(row.is_refusal for row in report.flagged)
    if refusals:
        found.append(
            (
                "refusals",
                f"{refusals} flagged rows begin with a refusal opening token: they teach what the model does anyway",
            )
        )
    if report.unprompted:
        found.append(("not scored", f"{report.unprompted} assistant turns before any user turn"))
    if report.unreadable:
        found.append(("unreadable", f"{len(report.unreadable)} rows, not scored and never removed"))
    return found


def summary(report: AuditReport) -> str:
    """What was found, in one line."""
    limit = report.threshold
    unreadable = f", {len(report.unreadable)} unreadable" if report.unreadable else ""
    return (
        f"{len(report.flagged)} of {report.rows} rows flagged{unreadable}: refusal mass above {limit.value:.4g}, which "
        f"{100 * limit.false_positives.value:.1f} % of harmless and {100 * limit.hits.value:.1f} % of harmful prompts "
        "exceed"
    )


def warnings(report: AuditReport) -> list[str]:
    """What must be read before anything is filtered: more rows are flagged than harmful ones could explain."""
    flagged, scored = len(report.flagged), report.scored
    _, _, high = report.expected_false_positives
    if flagged <= max(high, _MANY * scored):
        return []
    higher = "" if report.threshold.value >= _SURE else ", raise --threshold (gate, the default, is training's own)"
    share = f"{flagged} of {scored} rows is {100 * flagged / scored:.0f} %"
    advice = (
        f"Look before you filter: {share}. Either so many requests are refused, or this model begins ordinary answers "
        "to these rows with a refusal opening token: the rates hold for rows like the harmless prompts, and rows of a "
        f"task often are not like them. Look at the histogram (--html) and at the flagged rows{higher}, and measure "
        "with --harmless-prompts of your task's kind."
    )
    return [advice]


def first_token_text(token: str | None, log_probability: float | None) -> str:
    """The row's own first token and the model's log-probability of it."""
    if token is None:
        return "-"
    return f"{readable(token)} {'?' if log_probability is None else f'{log_probability:.1f}'}"


def _strings(report: AuditReport, kind: str) -> str:
    return " ".join(readable(token) for token in report.opening_token_strings[kind]) or "none"
