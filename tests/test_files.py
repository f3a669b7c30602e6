"""Atomic writes and rows of JSON."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from pact_plugins.errors import ConfigurationError, OutputError
from pact_plugins.files import atomic_folder, atomic_path, read_rows, write_json, write_text


def test_a_file_appears_whole(tmp_path):
    target = tmp_path / "new" / "folder" / "file.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.parent == target.parent
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["file.txt"]


def test_an_error_leaves_what_was_there(tmp_path):
    target = tmp_path / "file.txt"
    write_text(target, "old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text("new" * (1 // temporary.write_text("")))
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_what_cannot_be_serialised_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "file.json", {"x": object()})
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_there_is_given_every_entry_or_none(tmp_path, monkeypatch):
    rename = Path.rename

    def fails_with_the_second(path, target):
        if path.name == "b" and Path(target).parent == tmp_path:
            raise OSError(28, "No space left on device")
        return rename(path, target)

    def fill():
        with atomic_folder(tmp_path) as temporary:
            (temporary / "a").touch()
            (temporary / "b").mkdir()

    monkeypatch.setattr(Path, "rename", fails_with_the_second)
    with pytest.raises(OutputError, match="cannot be written: No space left"):
        fill()
    assert os.listdir(tmp_path) == []
    monkeypatch.undo()
    fill()
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_users_umask_holds(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "file.txt", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == mode


def test_json_keeps_letters_readable(tmp_path):
    write_json(tmp_path / "file.json", {"word": "naïve ␣"})
    assert "naïve ␣" in (tmp_path / "file.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "file.json").read_text(encoding="utf-8")) == {"word": "naïve ␣"}


def test_rows(tmp_path):
    path = tmp_path / "rows"
    path.write_text('[1, {"a": 2}]')
    assert read_rows(path, key="k") == [1, {"a": 2}]
    path.write_text('\n{"a": 1}\n\n"text"\n')
    assert read_rows(path, key="k") == [{"a": 1}, "text"]
    path.write_text('"one\u2028line"\r\n2\n', encoding="utf-8")
    assert read_rows(path, key="k") == ["one\u2028line", 2]


@pytest.mark.parametrize("content", ["{", "[1, ", "", "[]", "\n\n"])
def test_bad_rows_name_key_and_file(tmp_path, content):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"^my_key: .*rows\.jsonl"):
        read_rows(path, key="my_key")


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"^my_key: .*rows\.jsonl"):
        read_rows(path, key="my_key")


def test_content_and_name_are_on_the_disk(tmp_path, monkeypatch):
    """What a power cut would find can be asked of nobody; what was waited for, in which order, can."""
    synced, fsync = [], os.fsync

    def watched(handle):
        synced.append(os.fstat(handle).st_ino)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    write_text(tmp_path / "file", "x")
    assert synced == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]
    synced.clear()
    with atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "file").write_text("x")
    within = [tmp_path / "folder" / "inner" / "file", tmp_path / "folder" / "inner", tmp_path / "folder"]
    assert {path.stat().st_ino for path in within} <= set(synced)
    assert synced[-1] == tmp_path.stat().st_ino
