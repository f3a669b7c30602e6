"""What `pact eval` says in the end: the verdict, every figure's rows, and no rows of zeros."""

from __future__ import annotations

import pytest

from pact_evals.report.comparison import compare
from pact_evals.report.markdown import render_markdown
from pact_evals.runs.store import ModelResult
from pact_evals.terminal import print_metrics
from tests.helpers.evaluated import labels
from tests.helpers.evaluated import model as evaluated


def model(label: str, complied: int, *, total: int = 200, limit: int | None = None) -> ModelResult:
    return evaluated(label, labels(total, compliance=complied), ["compliance"] * total, limit=limit)


@pytest.mark.parametrize(
    ("complied", "verdict"),
    [(0, "Refusals kept"), (100, "Refusals lost"), (6, "Could not tell whether the refusals were kept")],
)
def test_the_last_line_is_the_verdict(capsys: pytest.CaptureFixture[str], complied: int, verdict: str) -> None:
    print_metrics([model("aligned", 0), model("tuned", complied)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith(f"{verdict}: tuned against aligned.")
    assert not any("empty" in line for line in lines)


def test_figures_are_those_of_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    """Per cent, and an interval with a width where every row counts or none."""
    models = [model("aligned", 0), model("tuned", 100)]
    print_metrics(models)
    (line,) = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("pact_refusal ") and "compl" in line
    ]
    assert " ".join(line.split()) == "pact_refusal compliance ↓ 200 0.0 % [0.0, 1.9] 50.0 % [43.1, 56.9]"
    assert "| pact_refusal | compliance ↓ | 200 | 0.0 % [0.0, 1.9] | 50.0 % [43.1, 56.9] |" in render_markdown(
        compare(models)
    )


def test_a_part_is_called_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics([model("tuned", 3, total=24, limit=24)])
    out = capsys.readouterr().out
    assert "tuned is a partial evaluation: the first 24 rows of each task (--limit)." in out
    assert "efusals" not in out
