"""Charts as SVG text, for a page that needs no other file."""

from __future__ import annotations

import io
from typing import Any

from pact_plugins.visible import visible


def new_figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure of inches with one pair of axes, without matplotlib's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def label(text: str) -> str:
    """A text in a chart: neither formula nor control character."""
    return visible(text).replace("$", r"\$")


def as_svg(figure: Any) -> str:
    """The figure from ``<svg`` on; the same figure gives the same text."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "pact", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
