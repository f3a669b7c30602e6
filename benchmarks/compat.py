"""The compatibility matrix: each framework's oldest and newest supported version on each Python, tested for real.

    make compat                                  # what is finished is kept; --again runs it once more
    make compat ROWS=axolotl-3.13,trl-3.12

Each row installs the framework's lock into an environment of its own under .venvs/compat, and runs the tests that train
through that framework. Results go to benchmarks/results/compat.json as they come; pact_plugins/tested_versions.json
and the table of docs/compatibility.md are made from them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from packaging.version import Version

CHECKOUT = Path(__file__).resolve().parent.parent
RESULTS = CHECKOUT / "benchmarks" / "results" / "compat.json"
TESTED = CHECKOUT / "pact_plugins" / "tested_versions.json"
PAGE = CHECKOUT / "docs" / "compatibility.md"
PYTHONS = ("3.11", "3.12", "3.13")
_TRL = "tests/training/test_gradients.py tests/training/test_receipts.py tests/training/test_resuming.py tests/trl"
# Lock by lock: the framework and the tests that train through it.
LOCKS = {
    "trl-oldest": ("trl", _TRL),
    "trl": ("trl", f"{_TRL} tests/training/test_architectures.py tests/evals/harness"),
    # No lock: whatever the index has today.
    "trl-latest": ("trl", f"{_TRL} tests/training/test_architectures.py tests/evals/harness"),
    "axolotl": ("axolotl", "tests/axolotl/test_equality.py tests/axolotl/test_refusals.py"),
    "llamafactory": ("llamafactory", "tests/llamafactory/test_training.py tests/llamafactory/test_losses.py"),
}
# What the table and the guard speak of.
WATCHED = ("torch", "transformers", "peft", "accelerate", "trl", "axolotl", "llamafactory", "lm-eval")
_HEADINGS = ("framework", "Python", "torch", "transformers", "PEFT", "accelerate", "lm-eval", "result")


def main() -> None:
    """Run the rows that are missing, then write table and tested versions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    rows = [f"{lock}-{python}" for lock in LOCKS for python in PYTHONS]
    parser.add_argument("--rows", default=",".join(rows), help="of: " + ", ".join(rows))
    parser.add_argument("--again", action="store_true", help="run finished rows once more")
    chosen = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for row in filter(None, chosen.rows.split(",")):
        if row not in rows:
            parser.error(f"{row} is no row; choose from {', '.join(rows)}")
        if row in results and not chosen.again:
            _say(f"{row}: kept ({results[row]['result']})")
            continue
        results[row] = run(*row.rsplit("-", 1))
        _say(f"{row}: {results[row]['result']}")
        RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
    TESTED.write_text(json.dumps(tested(results), indent=1) + "\n")
    PAGE.write_text(page(PAGE.read_text(), table(results)))


def run(lock: str, python: str) -> dict[str, Any]:
    """One row: what was installed, and what the tests said."""
    framework, tests = LOCKS[lock]
    interpreter = _interpreter(python)
    if interpreter is None:
        return {"python": python, "framework": framework, "versions": {}, "result": "skipped: no such Python here"}
    environment = CHECKOUT / ".venvs" / "compat" / f"{lock}-{python}"
    try:
        _install(lock, interpreter, environment)
    except subprocess.CalledProcessError as error:
        return {"python": python, "framework": framework, "versions": {}, "result": f"cannot be installed: {error}"}
    finished = subprocess.run(
        [environment / "bin" / "python", "-m", "pytest", *tests.split(), "-m", "not matrix and not reliability", "-q"],
        cwd=CHECKOUT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    (environment / "tests.log").write_text(finished.stdout + finished.stderr)
    last = (finished.stdout.strip().splitlines() or ["no output"])[-1]
    last = re.sub(r" in [0-9.]+s.*|=", "", last).strip()
    return {"python": python, "framework": framework, "versions": _versions(environment), "result": last}


def tested(results: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Oldest and newest version of each distribution in rows without a failure."""
    found = defaultdict(list)
    for row in results.values():
        if is_green(row):
            for name, version in row["versions"].items():
                found[name].append(Version(version))
    return {
        name: {"oldest": min(found[name]).public, "newest": max(found[name]).public} for name in WATCHED if found[name]
    }


def is_green(row: dict[str, Any]) -> bool:
    """Whether tests passed and none failed."""
    return "passed" in row["result"] and "failed" not in row["result"] and "error" not in row["result"]


def table(results: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(_HEADINGS) + " |", "|" + "---|" * len(_HEADINGS)]
    for row in results.values():
        versions = defaultdict(lambda: "", row["versions"])
        names = ("torch", "transformers", "peft", "accelerate", "lm-eval")
        cells = [f"{row['framework']} {versions[row['framework']]}".strip(), row["python"]]
        lines.append("| " + " | ".join([*cells, *(versions[name] for name in names), row["result"]]) + " |")
    return "\n".join(lines)


def page(text: str, made: str) -> str:
    """The page with another table between its marks."""
    begin, end = "<!-- made by make compat -->\n", "\n<!-- end -->"
    before, rest = text.split(begin)
    return before + begin + made + end + rest.split(end)[1]


def _install(lock: str, interpreter: str, environment: Path) -> None:
    if lock == "trl-latest":
        _uv("venv", "--quiet", "--clear", "--python", interpreter, str(environment))
        _uv(
            "pip",
            "install",
            "--quiet",
            "--python",
            str(environment / "bin" / "python"),
            "-e",
            ".[trl,eval,dev]",
            "-e",
            "lab",
        )
        return
    requirements = CHECKOUT / "requirements" / f"{lock}.lock"
    torch = re.findall(r"^torch==[0-9.]+", requirements.read_text(), re.MULTILINE)
    target = ["--quiet", "--python", str(environment / "bin" / "python")]
    _uv("venv", "--quiet", "--clear", "--python", interpreter, str(environment))
    _uv("pip", "install", *target, "--no-deps", "-r", str(requirements))
    _uv("pip", "install", *target, "--no-deps", "-e", str(CHECKOUT), "-e", str(CHECKOUT / "lab"))
    # What torch itself requires differs from build to build, and no lock lists it.
    _uv("pip", "install", *target, *torch)
    script = requirements.with_suffix(".sh")
    if script.is_file():
        subprocess.run(["sh", str(script), str(environment)], cwd=CHECKOUT, check=True)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _uv(*arguments: str) -> None:
    subprocess.run([str(Path(sys.executable).parent / "uv"), *arguments], cwd=CHECKOUT, check=True)


def _interpreter(python: str) -> str | None:
    """A path from PYTHON_3_13 and the like, or what uv finds."""
    given = os.environ.get(f"PYTHON_{python.replace('.', '_')}")
    if given:
        return given
    uv = [str(Path(sys.executable).parent / "uv"), "python", "find", "--no-project", "--no-python-downloads", python]
    finished = subprocess.run(uv, capture_output=True, text=True, check=False)
    return finished.stdout.strip() if finished.returncode == 0 else None


def _versions(environment: Path) -> dict[str, str]:
    script = (
        "import json, sys\nfrom importlib.metadata import PackageNotFoundError, version\nfound = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = version(name).split('+')[0]\n"
        "    except PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    asked = [str(environment / "bin" / "python"), "-c", script, *WATCHED]
    return dict(json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout))


if __name__ == "__main__":
    main()
