"""A new plugin's files: whole or not there, under a name that nothing else has."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pact_plugins.errors import ConfigurationError, OutputError
from pact_plugins.new_plugin import KINDS, LICENCES, write_plugin
from pact_plugins.new_plugin.naming import Names
from pact_plugins.plugins import loaded_plugins

ALL = list(KINDS.values())
RUFF = Path(sys.executable).with_name("ruff")


# --- the name --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "module", "command"),
    [
        ("my-plugin", "my_plugin", "my-plugin"),
        ("My.Plugin", "my_plugin", "my-plugin"),
        ("a__b", "a_b", "a-b"),
        ("x2", "x2", "x2"),
        ("n" * 60, "n" * 60, "n" * 60),
    ],
)
def test_what_follows_from_a_name(name, module, command):
    assert Names.of(name) == Names(name, module, command)


@pytest.mark.parametrize(
    "name", ["", "-x", "x-", "my plugin", "my/plugin", "..", "naïve", "x\n", "x\x1b[31m", "n" * 61, "ｘ"]
)
def test_what_no_packaging_tool_takes(tmp_path, name):
    with pytest.raises(ConfigurationError, match=r"NAME: .* cannot be a package's name") as error:
        write_plugin(tmp_path / "new", name, ALL[:1])
    assert str(error.value).isprintable()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["2nd", "class", "Import", "tests", "test"])
def test_what_python_cannot_import_or_the_tests_hide(name):
    with pytest.raises(ConfigurationError, match=f"NAME: {name} would give a module called {name.lower()}"):
        Names.of(name)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("json", "judge", "the module json is there already"),
        ("pact-plugins", "judge", "the module pact_plugins is there already"),
        ("lab", "judge", "a plugin called lab is installed already"),
        ("match", "objective", "the objective match is there already"),
        ("p-diff", "token-scorer", "the token-scorer p_diff is there already"),
        ("adapter-off", "reference", "the reference adapter_off is there already"),
        ("wildguard", "judge", "the judge wildguard is there already"),
        ("mixed-refusals", "method", "the method mixed_refusals is there already"),
        ("new-plugin", "command", "the command new-plugin is there already"),
    ],
)
def test_what_is_there_already(tmp_path, name, kind, message):
    with pytest.raises(ConfigurationError, match=f"NAME: {message}"):
        write_plugin(tmp_path / "new", name, [KINDS[kind]])
    assert os.listdir(tmp_path) == []


def test_a_name_that_only_another_kind_has(tmp_path):
    assert write_plugin(tmp_path / "new", "mixed-refusals", [KINDS["judge"]])


# --- the folder ------------------------------------------------------------------------------------------------------


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "kept").touch()
    with pytest.raises(
        ConfigurationError, match=r"holds files already; name a folder that is new or empty, with --output"
    ):
        write_plugin(tmp_path, "my-plugin", ALL)
    with pytest.raises(ConfigurationError, match=r"kept is no folder"):
        write_plugin(tmp_path / "kept", "my-plugin", ALL)
    assert os.listdir(tmp_path) == ["kept"]


def test_an_empty_folder_stays_the_same_one(tmp_path):
    before = tmp_path.stat().st_ino
    files = write_plugin(tmp_path, "my-plugin", ALL[:1])
    assert tmp_path.stat().st_ino == before
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == files


def test_a_new_folder_is_made_with_those_above_it_and_has_the_users_mode(tmp_path):
    before = os.umask(0o027)
    try:
        write_plugin(tmp_path / "a" / "b", "my-plugin", ALL[:1])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o750
    assert os.listdir(tmp_path / "a") == ["b"]


@pytest.mark.parametrize("there", [True, False])
def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch, there):
    write = Path.write_text

    def interrupted(path, *args, **kwargs):
        if path.name == "pyproject.toml":
            raise KeyboardInterrupt
        return write(path, *args, **kwargs)

    target = tmp_path / "new"
    if there:
        target.mkdir()
    # The first file that is written, so that some stand and some do not.
    monkeypatch.setattr("pact_plugins.new_plugin.writing._COMMON", ("README.md", "pyproject.toml"))
    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_plugin(target, "my-plugin", ALL)
    assert [path.name for path in tmp_path.rglob("*")] == (["new"] if there else [])


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises((OutputError, ConfigurationError), match="file"):
        write_plugin(tmp_path / "file" / "new", "my-plugin", ALL)
    with pytest.raises((OutputError, ConfigurationError), match="nn"):
        write_plugin(tmp_path / ("n" * 300), "my-plugin", ALL)


# --- the files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [*([kind] for kind in ALL), ALL], ids=lambda kinds: kinds[-1].name)
def test_the_files_are_what_ruff_would_write(tmp_path, chosen):
    write_plugin(tmp_path / "new", "my-plugin", chosen)
    for command in (["check", "--select", "B,C4,E,F,I,N,PIE,RET,SIM,UP,W"], ["format", "--check"]):
        finished = subprocess.run([RUFF, *command, tmp_path / "new"], capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stdout


def test_the_project_file(tmp_path):
    write_plugin(tmp_path / "new", "my-plugin", [KINDS["judge"], KINDS["method"]], "MIT")
    project = tomllib.loads((tmp_path / "new" / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["license"]) == ("my-plugin", "MIT")
    assert project["entry-points"] == {"pact": {"my_plugin": "my_plugin.plugin"}}
    assert project["dependencies"][0].startswith("pact-plugins>=")
    assert "SPDX-License-Identifier: MIT\n" in (tmp_path / "new" / "LICENSE").read_text()


def test_without_a_licence_none_is_claimed(tmp_path):
    write_plugin(tmp_path / "new", "my-plugin", ALL[:1])
    assert "license" not in tomllib.loads((tmp_path / "new" / "pyproject.toml").read_text())["project"]
    assert "No licence has been chosen" in (tmp_path / "new" / "LICENSE").read_text()


def test_licences_are_names_that_packaging_tools_take():
    from packaging.licenses import canonicalize_license_expression

    assert [canonicalize_license_expression(name) for name in LICENCES] == list(LICENCES)


def test_every_hook_with_a_name_in_a_configuration_has_a_kind():
    hooks = {hook for plugin in loaded_plugins() for hook in plugin.hooks}
    assert hooks - {kind.hook for kind in ALL} == {"register_presets", "register_short_names"}
