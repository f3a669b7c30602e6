"""The report: a paired comparison of evaluated models as HTML, Markdown, JSON and model-card metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pact_evals.checking import check_models
from pact_evals.report.comparison import compare
from pact_evals.report.html import render_html
from pact_evals.report.markdown import render_markdown
from pact_evals.report.model_card import render_model_index
from pact_evals.report.training_log import read_logs
from pact_evals.rule import Margins
from pact_evals.runs.gathering import gather
from pact_plugins.files import write_json, write_text


def write_report(
    runs: Sequence[Path],
    output: Path,
    *,
    baseline: str | None = None,
    logs: Mapping[str, str] | None = None,
    model_card: Path | None = None,
    bootstrap_samples: int = 2000,
    seed: int = 0,
) -> list[Path]:
    """Write OUTPUT (HTML), and Markdown and JSON beside it under the same name.

    Args:
        baseline: label of the model that the others are compared with; the first one if not given.
        logs: label to a training log (`trainer_state.json` or JSON lines); found in local model folders by itself.
        model_card: where to write the model-index metadata, if wanted.

    Returns:
        the files written.

    Raises:
        RunError: a folder is no run, labels clash, or the baseline is none of the models.
    """
    models = gather(runs)
    comparison = compare(models, baseline=baseline, bootstrap_samples=bootstrap_samples, seed=seed)
    check = check_models(models, Margins(), baseline=baseline)
    training = read_logs(models, logs or {})
    written = [output, output.with_suffix(".md"), output.with_suffix(".json")]
    write_text(written[0], render_html(comparison, training, check))
    write_text(written[1], render_markdown(comparison))
    write_json(written[2], {**comparison.as_dict(), "training": training, "check": check.as_dict()})
    if model_card is not None:
        write_text(model_card, render_model_index(comparison))
        written.append(model_card)
    return written


__all__ = ["write_report"]
