"""Running a notebook's code without Jupyter: its cells in order, in one namespace, as a kernel would."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any


def cells_of(path: Path, kind: str) -> list[str]:
    """The text of every cell of that kind."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def run_notebook(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """What its names stand for in the end, and what each cell shows: the value of its last line, None for nothing."""
    names: dict[str, Any] = {"__name__": "__main__"}
    return names, [_run(text, f"{path.name}[{place}]", names) for place, text in enumerate(cells_of(path, "code"))]


def _run(text: str, place: str, names: dict[str, Any]) -> Any:
    tree = ast.parse(text, place)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, place, "exec"), names)
    return None if last is None else eval(compile(last, place, "eval"), names)
