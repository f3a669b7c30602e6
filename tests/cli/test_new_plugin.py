"""``pact new-plugin`` as it is typed."""

from __future__ import annotations

import shlex

from pact_plugins.new_plugin import KINDS


def test_it_says_what_to_do_next(pact, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, printed, _ = pact("new-plugin", "my-plugin", "--kind", "judge", "--kind", "command", "--kind", "judge")
    assert status == 0
    first, *steps = printed.splitlines()
    assert first.startswith("my-plugin (judge, command): ")
    assert [shlex.split(step, comments=True)[:2] for step in steps] == [
        ["cd", "my-plugin"],
        ["pip", "install"],
        ["pytest"],
        ["pact", "plugins"],
    ]
    assert (tmp_path / "my-plugin" / "pyproject.toml").is_file()
    assert (tmp_path / "my-plugin" / "my_plugin" / "judge.py").is_file()


def test_in_the_folder_where_one_stands_there_is_no_way_to_go(pact, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, printed, _ = pact("new-plugin", "my-plugin", "-o", ".")
    assert status == 0
    assert printed.splitlines()[0].endswith(" files in .; now")
    assert " cd " not in printed


def test_errors_are_one_line_and_exit_status_2(pact, tmp_path):
    for arguments in (("2nd",), ("json", "-o", tmp_path / "new"), ("my-plugin", "-o", tmp_path)):
        (tmp_path / "kept").touch()
        status, printed, error = pact("new-plugin", *arguments)
        assert (status, printed) == (2, "")
        assert error.startswith(("Error: NAME: ", f"Error: {tmp_path} holds files already"))
        assert error.count("\n") == 1
    status, _, error = pact("new-plugin", "my-plugin", "--kind", "poem")
    assert status == 2
    assert all(kind in error for kind in KINDS)
