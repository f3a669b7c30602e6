"""Charts as SVG text, for a page that needs no other file, in the colours of the page around them."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from pact_plugins.visible import visible

# Told apart on white and on black, and by people who see few colours.
COLORS = ("#3b7dbd", "#d9822b", "#2f9e6e", "#c2569a", "#8a6fd1", "#b59a00", "#d1495b", "#4aa5b5")


# What a trainer's log holds, and which direction is good.
_LOGGED = {
    "loss": "The training loss, with what PACT adds to it. Lower: more of the data has been learnt.",
    "pact/loss": "What PACT adds to the loss. Lower is better.",
    "pact/kl": "How far the model has moved from the aligned one, in nats a response token. Lower is better: a rise is "
    "drift.",
    "pact/anchor_kl": "How far the model has moved from the aligned one's own replies to the anchor's prompts, in nats "
    "a token. Lower is better.",
    "pact/drift": "How far the model has moved from the aligned one on the watched prompts. Lower is better.",
    "pact/safety_mass": "Probability that the model gives to safety tokens. Good is where the aligned model's is.",
    "pact/reference_safety_mass": "Probability that the aligned model gives to safety tokens: the line to stay at.",
    "pact/refusal_mass_harmful": "Probability of refusing harmful requests of the watch. Higher is better.",
    "pact/refusal_mass_lookalike": "Probability of refusing harmless look-alikes of the watch. Lower is better.",
    "pact/refusal_mass_plain": "Probability of refusing plain requests of the watch. Lower is better.",
}
# The same for kinds of prompts: the names end with the kind.
_LOGGED_BY_KIND = {
    "pact/anchor_kl_": "How far the model has moved from the aligned one's own replies to the anchor's prompts of the "
    "kind {}, in nats a token. Lower is better.",
    "pact/expected_": "Share of replies to the watched prompts of the kind {} in which what is expected was found. "
    "Higher is better.",
    "pact/agreement_": "Share of the tokens of the aligned model's replies to the watched prompts of the kind {} that "
    "the model would write too. Higher is better.",
}


def caption_of(metric: str) -> str:
    """What a curve of a trainer's log shows, and which direction is good."""
    of_kind = (text.format(metric[len(name) :]) for name, text in _LOGGED_BY_KIND.items() if metric.startswith(name))
    unknown = f"{metric}, as training logged it; neither direction is better by itself."
    return _LOGGED.get(metric) or next(of_kind, unknown)


def new_figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure of inches with one pair of axes, without matplotlib's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def label(text: str) -> str:
    """A text in a chart: neither formula nor control character."""
    return visible(text).replace("$", r"\$")


def as_svg(figure: Any, alternative: str) -> str:
    """The figure from ``<svg`` on; the same figure gives the same text.

    Args:
        alternative: what a reader who does not see it is told.
    """
    import matplotlib as mpl

    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "pact", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # Black is whatever the page's text is, in the dark too.
    text = re.sub(r"(stroke|fill): #000000", r"\1: currentColor", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", text)
    return text.replace("<svg ", f'<svg role="img" aria-label={quoteattr(visible(alternative))} ', 1)


def crowding(points: Sequence[tuple[float, float]], *, near: float) -> list[int]:
    """How many of the points before each one lie within ``near`` of it: drawn larger, it is a ring around them."""
    return [sum(math.dist(one, other) < near for other in points[:place]) for place, one in enumerate(points)]


def label_points(axes: Any, points: list[tuple[float, float, str]]) -> None:
    """Write each point's name beside it; names of points that lie on each other are stacked, with a line to each."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    step = 0.07 * (top - bottom)
    places = _stacked([(x, y) for x, y, _ in points], near=0.4 * (right - left), step=step, lowest=bottom + step / 2)
    for (x, y, name), place in zip(points, places, strict=True):
        inward = x < (left + right) / 2
        moved = abs(place - y) > step / 2
        axes.annotate(
            name,
            (x, y),
            xytext=(x + (1 if inward else -1) * (0.06 if moved else 0.025) * (right - left), place),
            ha="left" if inward else "right",
            va="center",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.8} if moved else None,
        )


def _stacked(points: list[tuple[float, float]], *, near: float, step: float, lowest: float) -> list[float]:
    """Heights of the names: each at its point or below, ``step`` apart from its neighbours, none below ``lowest``."""
    order = sorted(range(len(points)), key=lambda index: -points[index][1])
    heights = [y for _, y in points]
    # Down from the highest, then up again from the lowest: what has been pushed out of the chart comes back.
    for direction, round_of in ((-1, order), (1, order[::-1])):
        placed: list[int] = []
        for index in round_of:
            height = max(heights[index], lowest) if direction > 0 else heights[index]
            beside = [other for other in placed if abs(points[other][0] - points[index][0]) < near]
            for other in sorted(beside, key=lambda one: direction * heights[one]):
                if abs(height - heights[other]) < step:
                    height = heights[other] + direction * step
            heights[index] = height
            placed.append(index)
    return heights
