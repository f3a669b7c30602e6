"""``python -m tests.reliability.campaign [PART OF A NAME ...]``: try every situation that the log lacks."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.reliability.oracle import Outcome, tried
from tests.reliability.situations import SITUATIONS


def main() -> None:
    """Write one line for each into the log."""
    log = Path(sys.argv[1])
    done = {json.loads(line)["name"] for line in log.read_text().splitlines()} if log.is_file() else set()
    for name, situation in SITUATIONS.items():
        if name in done or not all(word in name for word in sys.argv[2:]):
            continue
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcome = tried(situation, Path(folder))
            except Exception as error:
                outcome = Outcome("error", f"{type(error).__name__}: {error}"[:400])
        line = {"name": name, **asdict(outcome), "seconds": round(time.perf_counter() - start, 1)}
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(name, "|", outcome.result, f"{outcome.difference:.1e}", outcome.detail[:150], line["seconds"], flush=True)


if __name__ == "__main__":
    main()
