"""What a judge said later of stored answers: a file beside lm-eval's rows, which stay what they are.

The first line names the judge, every other one is a verdict: kept as it comes, so that whatever stops a judge, the next
one of the same identity goes on. The rows count when all of them are there.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pact_evals.harness.evaluate import Metric, Sample
from pact_evals.harness.scoring import verdict_metrics
from pact_evals.judges import UNSCORED, Verdict
from pact_plugins.files import parse_json, write_text

_OVER_ALL_ROWS = ("truncated", UNSCORED)
_DIRECTIONS = {"score": False}  # every judge's score says how much harm came out


@dataclass(frozen=True)
class Judged:
    """Rows and metrics under the verdicts of a judge."""

    metrics: dict[str, Metric]
    samples: list[Sample]
    judge: dict[str, Any]


def verdicts_file(samples: Path) -> Path:
    """Where the verdicts on the rows of a file are."""
    return samples.with_name(samples.name.replace("samples_", "verdicts_", 1))


def key_of(sample: Sample) -> str:
    """Of a prompt and its answer: rows that are alike are judged once."""
    return hashlib.sha256(json.dumps([sample.prompt, sample.response]).encode()).hexdigest()[:24]


class Journal:
    """The verdicts of one judge on one task, as they come; `finish` makes them count."""

    def __init__(self, samples: Path, judge: Mapping[str, Any]) -> None:
        self._final = verdicts_file(samples)
        self._growing = self._final.with_suffix(".part")
        self._judge = dict(judge)
        self._goes_on = False
        self.verdicts: dict[str, Verdict] = {}
        for file in (self._final, self._growing):
            with suppress(OSError, ValueError, KeyError, TypeError):
                by, found = _read(file)
                if by == self._judge:
                    # A row that the judge failed on is asked about again.
                    self.verdicts |= {key: one for key, one in found.items() if one.label != UNSCORED}
                    self._goes_on = file == self._growing

    def add(self, sample: Sample, verdict: Verdict) -> None:
        """Keep a verdict."""
        self.verdicts[key_of(sample)] = verdict
        # Whatever stopped the last one may have cut its last line.
        head = "\n" if self._goes_on else json.dumps({"judge": self._judge}) + "\n"
        with self._growing.open("a" if self._goes_on else "w", encoding="utf-8") as file:
            file.write(head + _line(key_of(sample), verdict))
        self._goes_on = True

    def finish(self, samples: Sequence[Sample]) -> None:
        """Every row has its verdict."""
        lines = [json.dumps({"judge": self._judge}) + "\n"]
        lines += [_line(key, self.verdicts[key]) for key in dict.fromkeys(map(key_of, samples))]
        write_text(self._final, "".join(lines))
        self._growing.unlink(missing_ok=True)


def judged(samples: Sequence[Sample], metrics: Mapping[str, Metric], file: Path) -> Judged | None:
    """Rows and metrics under the verdicts in a file; None where there is none.

    Raises:
        OSError, ValueError, KeyError, TypeError: it is damaged, or of other rows.
    """
    if not file.is_file():
        return None
    judge, verdicts = _read(file)
    rows = [_with_verdict(sample, verdicts[key_of(sample)]) for sample in samples]
    directions = {name: metric.higher_is_better for name, metric in metrics.items()} | _DIRECTIONS
    return Judged(aggregate(rows, directions), rows, judge)


def aggregate(samples: Sequence[Sample], directions: Mapping[str, bool]) -> dict[str, Metric]:
    """Means over rows. Rows without a verdict count in `unscored` and `truncated` only; no row gives NaN."""
    scored = [sample for sample in samples if sample.metrics[UNSCORED] != 1.0]
    metrics = {}
    for name, better in directions.items():
        rows = samples if name in _OVER_ALL_ROWS else scored
        values = [sample.metrics[name] for sample in rows if name in sample.metrics]
        if values or name in samples[0].metrics:
            metrics[name] = Metric(*_mean(values), higher_is_better=better)
    return metrics


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Verdict]]:
    """The judge, and its verdicts by the rows' keys. A line that was cut is none, and its row is judged again."""
    head, *lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line]
    verdicts = {}
    for line in lines:
        with suppress(ValueError):
            row = parse_json(line)
            score = None if row["score"] is None else float(row["score"])
            verdicts[str(row["row"])] = Verdict(str(row["label"]), score, str(row["reason"]))
    return dict(parse_json(head)["judge"]), verdicts


def _line(key: str, verdict: Verdict) -> str:
    return json.dumps({"row": key, **asdict(verdict)}) + "\n"


def _with_verdict(sample: Sample, verdict: Verdict) -> Sample:
    metrics = verdict_metrics(verdict.label, sample.response or "")
    if verdict.score is not None:
        metrics["score"] = verdict.score
    return replace(sample, metrics=metrics, reason=verdict.reason)


def _mean(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and its standard error, as lm-eval computes them."""
    if not values:
        return math.nan, None
    mean = sum(values) / len(values)
    if len(values) == 1:
        return mean, None
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance) / math.sqrt(len(values))
