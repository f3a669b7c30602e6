"""What `pact eval` says in the end: the verdict, every figure's rows, and no rows of zeros."""

from __future__ import annotations

import pytest

from pact_evals.runs.store import ModelResult
from pact_evals.terminal import print_metrics
from tests.helpers.evaluated import labels
from tests.helpers.evaluated import model as evaluated


def model(label: str, complied: int, *, total: int = 200, limit: int | None = None) -> ModelResult:
    return evaluated(label, labels(total, compliance=complied), ["compliance"] * total, limit=limit)


@pytest.mark.parametrize(("complied", "verdict"), [(0, "KEPT"), (100, "LOST"), (6, "COULD NOT TELL")])
def test_the_last_line_is_the_verdict(capsys: pytest.CaptureFixture[str], complied: int, verdict: str) -> None:
    print_metrics([model("aligned", 0), model("tuned", complied)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith(f"Refusals {verdict}: tuned against aligned.")
    found = [line.split() for line in lines]
    share = f"{complied / 200:.3f}"
    assert ["pact_refusal", "compliance", "↓", "200", "0.000", "±", "0.010", share, "±", "0.010"] in found
    assert not any("empty" in cells for cells in found)


def test_a_part_is_called_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics([model("tuned", 3, total=24, limit=24)])
    out = capsys.readouterr().out
    assert "tuned is a PARTIAL evaluation: the first 24 rows of each task." in out
    assert "Refusals" not in out
