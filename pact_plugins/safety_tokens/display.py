"""Safety tokens for a person: a table in the terminal, a bar chart as PNG."""

from __future__ import annotations

import os
from pathlib import Path

from rich.table import Table
from rich.text import Text

from pact_plugins.files import atomic_path
from pact_plugins.safety_tokens.artifact import SafetyTokens


def readable(token: str) -> str:
    """A stored token with its leading space or line break made visible."""
    return token.replace("Ġ", "␣").replace("▁", "␣").replace("Ċ", "⏎").replace("\n", "⏎")


def table(tokens: SafetyTokens) -> Table:
    """One row a token, the largest entry first."""
    result = Table(title=f"{len(tokens)} safety tokens, fingerprint {tokens.fingerprint}")
    for column in ("token", "id", "direction", "p aligned", "p contrast"):
        result.add_column(column, justify="left" if column == "token" else "right")
    for index in tokens.direction.argsort(descending=True).tolist():
        result.add_row(
            # As text: tokens such as [/INST] look like rich's markup.
            Text(readable(tokens.token_strings[index])),
            str(int(tokens.token_ids[index])),
            f"{float(tokens.direction[index]):+.4f}",
            f"{float(tokens.aligned_probability[index]):.5f}",
            f"{float(tokens.contrast_probability[index]):.5f}",
        )
    return result


def save_chart(tokens: SafetyTokens, path: str | os.PathLike[str]) -> Path:
    """Write the bar chart of mean probabilities under both views as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    order = tokens.aligned_probability.argsort(descending=True).tolist()
    labels = [readable(tokens.token_strings[index]).replace("$", r"\$") for index in order]
    figure = Figure(figsize=(max(6.0, 0.28 * len(order)), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = range(len(order))
    axes.bar([x - 0.2 for x in places], tokens.aligned_probability[order].tolist(), 0.4, label="aligned")
    axes.bar([x + 0.2 for x in places], tokens.contrast_probability[order].tolist(), 0.4, label="contrast")
    axes.set_xticks(list(places), labels, rotation=75, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_ylabel("mean probability")
    axes.set_title("Safety tokens")
    axes.margins(x=0.01)
    axes.legend()
    with atomic_path(Path(path).with_suffix(".png")) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    return Path(path).with_suffix(".png")
