"""``python -m tests.mutation``: how many mutants of the seven modules the tests notice, and which they do not.

What the modules import is imported once; every mutant is a fork of that process, in which the module's own tests run.
mutmut and cosmic-ray start Python anew, or fork before anything is imported: torch, transformers and TRL would cost
every mutant ten seconds and more. Subprocesses that a test starts run the module as it is.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import importlib.abc
import importlib.util
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from tests.mutation.modules import MODULES
from tests.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
_IMPORTED = ("torch", "transformers", "peft", "trl", "accelerate", "datasets", "lm_eval", "hypothesis")
_MARKED = "not matrix and not reliability"
# What a mutant's tests may take beside what they take without it.
_SLOWER, _SECONDS = 4, 60


class _Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module another body."""

    def __init__(self, module: str, path: Path, code: CodeType) -> None:
        self._module, self._path, self._code = module, path, code

    def find_spec(self, fullname, path, target=None):
        if fullname != self._module:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def exec_module(self, module):
        exec(self._code, module.__dict__)


def survives(path: Path, mutant: Mutant | None, tests: list[str], seconds: int) -> bool:
    """Whether all tests pass with the mutant in the module's place, and come to an end."""
    child = os.fork()
    if not child:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        signal.alarm(seconds)
        if mutant is not None:
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removeprefix("evals.")
            sys.meta_path.insert(0, _Mutated(module, path, compile(mutant.tree(), str(path), "exec")))
        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", _MARKED, *tests])))
    return os.waitpid(child, 0)[1] == 0


def _try(path: Path, chosen: list[Mutant], tests: list[str], found: dict[str, Any]) -> Iterator[str]:
    """Sorts the chosen mutants in ``found``, one after the other."""
    begun = time.monotonic()
    if not survives(path, None, tests, 3600):
        sys.exit(f"{path}: its tests fail as they are: {' '.join(tests)}")
    seconds = _SECONDS + int(_SLOWER * (time.monotonic() - begun))
    for mutant in chosen:
        kind = "survived" if survives(path, mutant, tests, seconds) else "noticed"
        found[kind].append(mutant.name)
        yield f"{mutant.name} {kind}"


def main() -> None:
    """Run the sample; results are written as they come, and a second run goes on."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--sample", type=int, default=25, help="mutants of each file (default: 25)")
    parser.add_argument("--again", action="store_true", help="try those that survived again")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "benchmarks" / "results" / "mutation.json")
    options = parser.parse_args()
    done = json.loads(options.output.read_text()) if options.output.is_file() else {}
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    for file, tests in MODULES.items():
        source = (ROOT / file).read_text(encoding="utf-8")
        every = mutants(source)
        state = {"source": hashlib.sha256(source.encode()).hexdigest()[:16], "mutants": len(every)}
        found = done.get(file, {})
        if {name: found.get(name) for name in state} != state:
            found = {**state, "noticed": [], "survived": []}
        if options.again:
            found["survived"] = []
        done[file] = found
        random.Random(file).shuffle(every)
        chosen = [one for one in every[: options.sample] if one.name not in found["noticed"] + found["survived"]]
        for line in _try(ROOT / file, chosen, tests, found) if chosen else ():
            options.output.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
            print(file, line, flush=True)
    for file, found in done.items():
        noticed = len(found["noticed"])
        print(f"{file}: {noticed} of {noticed + len(found['survived'])} noticed")


if __name__ == "__main__":
    main()
