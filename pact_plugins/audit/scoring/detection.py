"""How well scores find rows that are known to be poisoned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from pact_plugins.errors import ConfigurationError
from pact_plugins.report.intervals import Rate


@dataclass(frozen=True)
class Detection:
    """Of the rows above a threshold, how many are poisoned, and the other way round.

    Attributes:
        precision: poisoned among the flagged.
        recall: flagged among the poisoned.
        false_positives: flagged among the clean.
        auc: probability that a poisoned row scores above a clean one, ties counted half; None without both kinds.
    """

    threshold: float
    precision: Rate
    recall: Rate
    false_positives: Rate
    auc: float | None

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        rates = {name: getattr(self, name).as_dict() for name in ("precision", "recall", "false_positives")}
        return {"threshold": self.threshold, **rates, "auc": self.auc}


def detection(scores: Sequence[float], is_poison: Sequence[bool], threshold: float) -> Detection:
    """Compare scores with the truth.

    Raises:
        ConfigurationError: there are not as many truths as scores.
    """
    if len(scores) != len(is_poison):
        raise ConfigurationError(f"{len(scores)} scores, but {len(is_poison)} truths")
    found = [score > threshold for score in scores]
    hits = sum(flagged and poison for flagged, poison in zip(found, is_poison, strict=True))
    poisoned = sum(map(bool, is_poison))
    return Detection(
        threshold,
        precision=Rate(hits, sum(found)),
        recall=Rate(hits, poisoned),
        false_positives=Rate(sum(found) - hits, len(scores) - poisoned),
        auc=area_under_curve(scores, is_poison),
    )


def area_under_curve(scores: Sequence[float], is_positive: Sequence[bool]) -> float | None:
    """Area under the ROC curve, as Mann and Whitney's U statistic over the number of pairs."""
    values, positive = numpy.asarray(scores, dtype=float), numpy.asarray(is_positive, dtype=bool)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    _, places, counts = numpy.unique(values, return_inverse=True, return_counts=True)
    # The mean rank of a group of ties.
    ranks = (counts.cumsum() - (counts - 1) / 2)[places]
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
