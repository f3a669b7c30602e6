"""The notebook: kept without outputs, and what it claims is what comes out when its cells are run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.helpers.notebooks import cells_of
from tests.helpers.trainers import python_path

NOTEBOOK = ROOT / "examples" / "first_run.ipynb"
RUN = """
import json, sys, time
from pathlib import Path
from tests.helpers.notebooks import run_notebook

names, shown = run_notebook(Path(sys.argv[1]))
axes = names["axes"]
result = {
    "seconds": time.process_time(),
    "curves": {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()},
    "html": shown[-1]._repr_html_(),
}
Path("result.json").write_text(json.dumps(result))
"""


def test_it_is_stored_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) >= 8
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []
    identifiers = [cell["id"] for cell in notebook["cells"]]
    assert len(set(identifiers)) == len(identifiers)


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", "\n".join(cells_of(NOTEBOOK, "markdown")))
    assert links
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []


@pytest.mark.framework
def test_it_runs_and_shows_what_it_says(tmp_path: Path):
    finished = subprocess.run(
        [sys.executable, "-c", RUN, str(NOTEBOOK)],
        env={**python_path(), "MPLBACKEND": "agg", "PACT_CACHE_PATH": str(tmp_path / "cache")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-3000:]
    result = json.loads((tmp_path / "result.json").read_text())
    # Of this process; the commands that it starts take another fifth of the two minutes.
    assert result["seconds"] < 90
    plain, pact = result["curves"]["plain"], result["curves"]["pact"]
    assert len(plain) == len(pact) == 6
    assert plain[0] == pact[0] > 0.9
    assert plain[-1] < 0.1
    assert pact[-1] > 0.8
    assert result["html"].startswith('<iframe srcdoc="&lt;!doctype html')
    # `pact verify`, `pact eval` and `pact report` have printed what they say.
    for words in ("plain\n- of steps 1 to 50 only 0", "pact\nprotected throughout", "pact_tiny_harmful", "report.html"):
        assert words in finished.stdout, words
