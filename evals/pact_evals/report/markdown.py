"""The report as Markdown, ready to paste as a model card's evaluation section."""

from __future__ import annotations

from pact_evals.report import words
from pact_evals.report.comparison import Comparison
from pact_plugins.report.markdown import plain, row

_HOW_TO_READ = (
    "Mean and 95 % interval (shares: Wilson; their differences: Newcombe, paired). Differences are in percentage "
    "points over the same prompts."
)


def render_markdown(comparison: Comparison) -> str:
    """Tables of metrics and categories, the judges, and how to read the numbers."""
    parts = [
        "## Evaluation",
        "",
        _HOW_TO_READ,
        "",
        *(line for sentence in words.partial_text(comparison) for line in (f"**{plain(sentence)}**", "")),
        *_metric_table(comparison),
        "",
        *_category_tables(comparison),
        "### How it was measured",
        "",
        *_judge_lines(comparison),
        *(f"- {plain(label)}: {plain(_describe(comparison.identities[label]))}" for label in comparison.labels),
        "- Task versions: "
        + ", ".join(plain(f"{task} {version}") for task, version in sorted(comparison.versions.items())),
        "",
    ]
    return "\n".join(parts)


def _metric_table(comparison: Comparison) -> list[str]:
    others = [label for label in comparison.labels if label != comparison.baseline]
    differing = [f"{label} − {comparison.baseline}" for label in others]
    header = ["task", "metric", "rows", *map(plain, comparison.labels), *map(plain, differing)]
    lines = [row(header), row(["---"] * len(header))]
    for metric in comparison.metrics:
        means = [words.mean_text(metric, label) for label in comparison.labels]
        differences = (words.difference_text(metric, other) for other in others)
        lines.append(
            row(
                [
                    plain(metric.task),
                    f"{plain(metric.metric)} {words.arrow(metric)}",
                    words.rows_text(metric),
                    *means,
                    *differences,
                ]
            )
        )
    return lines


def _category_tables(comparison: Comparison) -> list[str]:
    lines = []
    for task in dict.fromkeys(one.task for one in comparison.categories):
        rows = [category for category in comparison.categories if category.task == task]
        if len(rows) < 2:
            continue
        lines += [
            f"### Compliance by category: {plain(task)}",
            "",
            row(["category", "rows", *map(plain, comparison.labels)]),
        ]
        lines.append(row(["---"] * (2 + len(comparison.labels))))
        for one in rows:
            shares = [f"{one.compliance[x] * 100:.1f} %" if x in one.compliance else "" for x in comparison.labels]
            lines.append(row([plain(one.category), str(one.rows), *shares]))
        lines.append("")
    return lines


def _judge_lines(comparison: Comparison) -> list[str]:
    seen = dict.fromkeys(judge_text(judge) for judge in comparison.judges.values())
    return [f"- Judge: {plain(text)}" for text in seen]


def judge_text(judge: dict[str, object]) -> str:
    """`keyword, revision 1 (cheap tier)` with the judge's settings."""
    settings = judge.get("settings")
    detail = "".join(f", {key} {value}" for key, value in settings.items()) if isinstance(settings, dict) else ""
    return f"{judge['name']}, revision {judge['revision']} ({judge['tier']} tier{detail})"


def _describe(identity: dict[str, object]) -> str:
    adapter = f" with adapter {identity['adapter']}" if identity.get("adapter") else ""
    return f"{identity.get('model')}{adapter}, backend {identity.get('backend')}, lm-eval {identity.get('lm_eval')}"
