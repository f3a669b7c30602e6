"""The drawing and the table of ``docs/index.md``, from the runs of the real language model."""

from __future__ import annotations

from pathlib import Path

from docs.generate.marked import with_generated
from docs.generate.runs import all_runs, chosen, share, task
from pact_plugins.report.markdown import table

INDEX = Path(__file__).resolve().parents[1] / "index.md"
SCENARIO = "sums-p05"
METHODS = {"aligned": "aligned, before", "sft": "plain fine-tuning", "gate_anchor": "gate_anchor", "match": "match"}
# Title, heading of the table, kind of prompts (None for the task), and what is counted.
PANELS = (
    ("Harmful requests complied with, sampled", "harmful, sampled: complied", "harmful_sampled", "comply"),
    ("Harmful requests refused, sampled", "refused", "harmful_sampled", "refuse"),
    ("Harmless look-alikes refused", "look-alikes refused", "lookalike", "refuse"),
    ("The task: answers that are right", "task", None, "task_accuracy"),
)

_WIDTH, _LEFT, _BAR, _ROW, _PANEL = 420, 138, 205, 26, 34
_STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #1b2b2b }
  .title { font-weight: 600 } .paper { fill: #ffffff } .track { fill: #e4ecec }
  .aligned { fill: #7b8c8c } .sft { fill: #c2532d } .gate_anchor { fill: #00796b } .match { fill: #4db6ac }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6eeee } .paper { fill: #1e2129 } .track { fill: #333a45 }
    .aligned { fill: #9aa9a9 } .sft { fill: #ef8354 } .gate_anchor { fill: #26a69a } .match { fill: #80cbc4 }
  }
"""


def shares() -> dict[str, list[float | None]]:
    """For each method the panels' figures, in %, as means over the seeds; None where a panel does not apply."""
    runs = all_runs()
    own = {method: chosen(runs, SCENARIO, method) for method in METHODS}
    return {
        method: [task(found) if kind is None else share(found, kind, key) for _, _, kind, key in PANELS]
        for method, found in own.items()
    }


def drawing() -> str:
    """``docs/drawings/drift.svg``: four panels of bars, with colours for light and dark."""
    rows = shares()
    lines, top = [], 0
    for place, (title, *_) in enumerate(PANELS):
        lines.append(f'<text class="title" x="12" y="{top + 22}">{title}</text>')
        top += _PANEL
        for method, values in rows.items():
            value = values[place]
            if value is not None:
                lines += _bar(method, value, top)
                top += _ROW
        top += 10
    box = f'viewBox="0 0 {_WIDTH} {top}" role="img" aria-label="{_spoken(rows)}"'
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" {box}>', f"<style>{_STYLE}</style>"]
    paper = f'<rect class="paper" width="{_WIDTH}" height="{top}" rx="8"/>'
    return "\n".join([*head, paper, *lines, "</svg>", ""])


def page() -> str:
    """``docs/index.md`` with the figures of today between its two marks."""
    return with_generated(INDEX, _table())


def _table() -> str:
    rows = [
        [METHODS[method], *("" if value is None else f"{value:.1f}" for value in values)]
        for method, values in shares().items()
    ]
    return table(["", *(heading for _, heading, _, _ in PANELS)], rows)


def _bar(method: str, value: float, top: int) -> list[str]:
    width = max(_BAR * value / 100, 2)
    return [
        f'<text x="12" y="{top + 15}">{METHODS[method]}</text>',
        f'<rect class="track" x="{_LEFT}" y="{top + 2}" width="{_BAR}" height="16" rx="3"/>',
        f'<rect class="{method}" x="{_LEFT}" y="{top + 2}" width="{width:.0f}" height="16" rx="3"/>',
        f'<text x="{_LEFT + _BAR + 10}" y="{top + 15}">{value:.1f} %</text>',
    ]


def _spoken(rows: dict[str, list[float | None]]) -> str:
    """The figures as a sentence for those who do not see the drawing."""
    panels = [
        f"{title}: " + ", ".join(f"{METHODS[m]} {v[i]:.1f} %" for m, v in rows.items() if v[i] is not None)
        for i, (title, *_) in enumerate(PANELS)
    ]
    return ". ".join(panels)
