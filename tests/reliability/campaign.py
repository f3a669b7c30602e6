"""``python -m tests.reliability.campaign [PART OF A NAME ...]``: try the situations that the results lack.

Writes the page too. Remove a situation, or the whole file, from the results to try it again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import traceback
from dataclasses import asdict
from pathlib import Path

from pact_lab.agreement.judging import replace_section
from pact_plugins.files import write_json, write_text
from pact_plugins.report.markdown import table
from tests.reliability.oracle import Outcome, tried
from tests.reliability.situations import SITUATIONS

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PAGE, RESULTS = BENCHMARKS / "campaign.md", BENCHMARKS / "results" / "campaign.json"
_LONGEST = 300


def main() -> None:
    """Write what came of each as it comes."""
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for name in SITUATIONS:
        if name not in results and all(word in name for word in sys.argv[1:]):
            outcome = apart(name)
            results[name] = asdict(outcome)
            print(name, outcome, flush=True)
            write_json(RESULTS, {name: results[name] for name in SITUATIONS if name in results})
    write_text(PAGE, replace_section(PAGE.read_text(encoding="utf-8"), "situations", as_markdown(results)))


def apart(name: str) -> Outcome:
    """What comes of a situation in a process of its own, forked after the imports."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")
        child = os.fork()
        if not child:
            signal.alarm(_LONGEST)
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
            answer.write_text(json.dumps(asdict(_tried(name, Path(folder)))), encoding="utf-8")
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if not answer.is_file():
            return Outcome("wrong", f"the process ended with status {status}")
        return Outcome(**json.loads(answer.read_text(encoding="utf-8")))


def _tried(name: str, folder: Path) -> Outcome:
    try:
        return tried(SITUATIONS[name], folder)
    except Exception as error:  # of whatever library: PACT should have said something of its own
        last = traceback.extract_tb(error.__traceback__)[-1]
        return Outcome("wrong", f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})")


def as_markdown(results: dict[str, dict[str, object]]) -> str:
    """One row for each situation."""
    rows = []
    for name, found in results.items():
        difference, detail = found["difference"], str(found["detail"]).split(";")[0]
        exact = "" if difference is None else f"{difference:.0e}"
        rows.append((name, str(found["result"]), exact, f"“{detail[:110]}”" if detail else ""))
    return table(("situation", "outcome", "difference", "in its own words"), rows, texts=2)


if __name__ == "__main__":
    main()
