"""The versions that were tested: what is refused, what is said, and that nothing holds them twice."""

from __future__ import annotations

import json
import runpy
from importlib.metadata import version
from pathlib import Path

import pytest

from pact_plugins import compatibility
from pact_plugins.compatibility import (
    Compatibility,
    check_versions,
    compatibility_of,
    known_versions,
    require,
    what_brings,
)
from pact_plugins.errors import ConfigurationError

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture
def matrix():
    return runpy.run_path(str(CHECKOUT / "benchmarks" / "compat.py"))


@pytest.fixture(autouse=True)
def _asked_again():
    check_versions.cache_clear()
    yield
    check_versions.cache_clear()


def test_the_table_and_the_guard_are_the_results(matrix):
    results = json.loads((CHECKOUT / "benchmarks" / "results" / "compat.json").read_text())
    page = (CHECKOUT / "docs" / "compatibility.md").read_text()
    assert matrix["table"](results) in page
    assert known_versions() == matrix["tested"](results)
    pythons = {(row["framework"], row["python"]) for row in results.values() if matrix["is_green"](row)}
    assert {("trl", "3.11"), ("trl", "3.13"), ("axolotl", "3.13"), ("llamafactory", "3.13")} <= pythons


def test_a_row_with_a_failure_widens_nothing(matrix):
    rows = {
        "a": {"result": "9 passed", "versions": {"trl": "1.9.0"}},
        "b": {"result": "9 passed, 1 skipped", "versions": {"trl": "1.16.0"}},
        "c": {"result": "1 failed, 9 passed", "versions": {"trl": "2.0.0"}},
        "d": {"result": "skipped: no such Python here", "versions": {}},
    }
    assert matrix["tested"](rows) == {"trl": {"oldest": "1.9.0", "newest": "1.16.0"}}


def test_what_is_installed_here_was_tested():
    for name in ("torch", "transformers", "peft", "accelerate", "trl"):
        found = compatibility_of(name)
        assert found is not None
        assert found.version == version(name)
        assert found.verdict == "tested", found


@pytest.mark.parametrize(
    ("installed", "verdict"),
    [
        ("1.16.9", "tested"),
        ("0.24.0", "tested"),
        ("1.17.0", "not tested: 0.24.0 to 1.16.0 are"),
        ("2.0.0.dev0", "not tested: 0.24.0 to 1.16.0 are"),
    ],
)
def test_patch_releases_count_as_their_minor(installed, verdict):
    assert Compatibility("trl", installed, "0.24.0", "1.16.0", None).verdict == verdict


def test_an_untested_version_is_one_line_once(monkeypatch, caplog):
    import transformers  # noqa: F401

    monkeypatch.setattr(compatibility, "version", lambda name: "99.0" if name == "transformers" else version(name))
    with caplog.at_level("INFO", logger="pact_plugins"):
        check_versions()
        check_versions()
    assert caplog.text.count("outside the tested versions") == 1
    assert "transformers 99.0 (not tested: " in caplog.text


def test_a_version_that_is_known_not_to_work_is_refused(monkeypatch):
    import transformers  # noqa: F401

    monkeypatch.setattr(compatibility, "version", lambda name: "4.40.0" if name == "transformers" else version(name))
    with pytest.raises(ConfigurationError, match=r"transformers 4\.40\.0 does not work with this package; install tra"):
        check_versions()


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("lm_eval.api", "pact-plugins[eval]"),
        ("trl", "pact-plugins[trl]"),
        ("axolotl", "pact-plugins[axolotl]"),
        ("reasoning_gym", "pact-lab[natural]"),
        ("torch", None),
        ("os", None),
    ],
)
def test_what_brings_a_module(module, package):
    assert what_brings(module) == package


def test_a_module_that_is_missing_names_its_extra(monkeypatch):
    require("matplotlib")
    monkeypatch.setattr(compatibility, "find_spec", lambda module: None)
    with pytest.raises(ConfigurationError, match=r"matplotlib is not installed: pip install 'pact-plugins\[report\]'"):
        require("matplotlib")
