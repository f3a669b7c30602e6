"""Safety tokens for a person: a table in the terminal, a bar chart as PNG."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pact_plugins.contracts.safety_tokens import SafetyTokens
from pact_plugins.files import atomic_path
from pact_plugins.report.charts import label

COLUMNS = ("token", "id", "direction", "p aligned", "p contrast")


def readable(token: str) -> str:
    """A stored token with its leading space or line break made visible."""
    return token.replace("Ġ", "␣").replace("▁", "␣").replace("Ċ", "⏎").replace("\n", "⏎")


def rows(tokens: SafetyTokens) -> list[tuple[str, ...]]:
    """One row a token under ``COLUMNS``, the largest entry first."""
    return [
        (
            readable(tokens.token_strings[index]),
            str(int(tokens.token_ids[index])),
            f"{float(tokens.direction[index]):+.4f}",
            f"{float(tokens.aligned_probability[index]):.5f}",
            f"{float(tokens.contrast_probability[index]):.5f}",
        )
        for index in tokens.direction.argsort(descending=True).tolist()
    ]


def as_dict(tokens: SafetyTokens) -> dict[str, Any]:
    """JSON values; lists are in the order of the token ids."""
    tensors = ("token_ids", "direction", "aligned_probability", "contrast_probability")
    return {
        "fingerprint": tokens.fingerprint,
        "tokenizer_fingerprint": tokens.tokenizer_fingerprint,
        "vocabulary_size": tokens.vocabulary_size,
        "token_strings": list(tokens.token_strings),
        **{name: getattr(tokens, name).tolist() for name in tensors},
        "settings": dict(tokens.settings),
    }


def setting_lines(tokens: SafetyTokens) -> list[str]:
    """One ``key: value`` line a setting; opening tokens as readable tokens with their ids."""
    lines = []
    for key, value in tokens.settings.items():
        strings = tokens.settings.get(f"{key[:-1]}_strings") if key.endswith("_opening_tokens") else None
        if isinstance(strings, list) and isinstance(value, list) and len(strings) == len(value):
            named = [f"{readable(str(string))} ({index})" for string, index in zip(strings, value, strict=True)]
            lines.append(f"{key.replace('_', ' ')}: {', '.join(named) or 'none'}")
        elif not key.endswith("_opening_token_strings"):
            lines.append(f"{key}: {value}")
    return lines


def save_chart(tokens: SafetyTokens, path: str | os.PathLike[str]) -> Path:
    """Write the bar chart of mean probabilities under both views as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    order = tokens.aligned_probability.argsort(descending=True).tolist()
    labels = [label(readable(tokens.token_strings[index])) for index in order]
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
