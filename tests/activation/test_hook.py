"""The import hook alone, on small real packages: what it adds, what it leaves as it was, how it fails."""

from __future__ import annotations

import importlib
import importlib.machinery
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pact_plugins.activation import hook
from pact_plugins.errors import ActivationError

FRAMEWORK = "def launch():\n    return 'stock'\n"
PATCH = """
calls = []

def install(module):
    calls.append(module.__name__)
    module.launch = lambda: "with PACT"

def fail(module):
    raise KeyError("launch has moved")
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "small_framework").mkdir()
    (tmp_path / "small_framework" / "__init__.py").write_text("")
    (tmp_path / "small_framework" / "train.py").write_text(FRAMEWORK)
    (tmp_path / "small_patch.py").write_text(PATCH)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield tmp_path
    for name in ("small_framework", "small_framework.train", "small_patch"):
        sys.modules.pop(name, None)


def put_hook(function: str) -> hook.ImportHook:
    finder = hook.ImportHook({"small_framework.train": function})
    sys.meta_path.insert(0, finder)  # type: ignore[arg-type]
    return finder


def test_the_function_gets_the_module_after_it_has_run(packages: Path) -> None:
    put_hook("small_patch:install")
    module = importlib.import_module("small_framework.train")
    assert module.launch() == "with PACT"
    assert importlib.import_module("small_patch").calls == ["small_framework.train"]


def test_nothing_is_imported_for_other_modules(packages: Path) -> None:
    finder = put_hook("small_patch:install")
    importlib.import_module("small_framework")
    assert "small_patch" not in sys.modules
    assert finder.find_spec("small_framework") is None


def test_the_module_keeps_its_own_loader_and_source(packages: Path) -> None:
    put_hook("small_patch:install")
    module = importlib.import_module("small_framework.train")
    assert type(module.__loader__) is importlib.machinery.SourceFileLoader
    assert inspect.getsource(module) == FRAMEWORK


def test_a_reloaded_module_is_handed_over_again(packages: Path) -> None:
    put_hook("small_patch:install")
    module = importlib.import_module("small_framework.train")
    assert importlib.reload(module).launch() == "with PACT"


def test_another_hook_of_the_same_kind_causes_no_endless_search(packages: Path) -> None:
    class AsksEveryone:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
            others = [finder for finder in sys.meta_path if finder is not self]
            return next((spec for f in others if (spec := f.find_spec(name, path, target)) is not None), None)

    put_hook("small_patch:install")
    sys.meta_path.insert(1, AsksEveryone())  # type: ignore[arg-type]
    assert importlib.import_module("small_framework.train").launch() == "with PACT"


@pytest.mark.parametrize(
    ("function", "cause"),
    [
        ("small_patch:fail", "KeyError: 'launch has moved'"),
        ("small_patch:gone", "AttributeError"),
        ("no_such_patch:install", "ModuleNotFoundError"),
    ],
)
def test_a_patch_that_fails_fails_the_import_and_names_the_cause(
    packages: Path, capsys: pytest.CaptureFixture[str], function: str, cause: str
) -> None:
    put_hook(function)
    with pytest.raises(ActivationError, match=cause) as caught:
        importlib.import_module("small_framework.train")
    assert "small_framework.train" not in sys.modules
    assert "PACT_DISABLE=1" in str(caught.value)
    assert cause in capsys.readouterr().err


def test_install_is_done_once_and_catches_up_on_what_is_imported(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PACT_DISABLE", raising=False)
    targets = {"small_framework.train": "small_patch:install"}
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, hook.ImportHook)]
    module = importlib.import_module("small_framework.train")
    assert module.launch() == "stock"
    hook.install(targets)
    hook.install(targets)
    assert module.launch() == "with PACT"
    assert [isinstance(finder, hook.ImportHook) for finder in sys.meta_path].count(True) == 1


@pytest.mark.parametrize(("value", "installed"), [("1", False), ("0", True), ("", True)])
def test_pact_disable(monkeypatch: pytest.MonkeyPatch, value: str, installed: bool) -> None:
    monkeypatch.setattr(
        sys, "meta_path", [finder for finder in sys.meta_path if not isinstance(finder, hook.ImportHook)]
    )
    monkeypatch.setenv("PACT_DISABLE", value)
    hook.install({})
    assert hook.is_installed() is installed
