"""Reading and writing files so that a failure leaves nothing half-written."""

from __future__ import annotations

import difflib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

from pact_plugins.errors import ConfigurationError, OutputError

# One of them is in every folder that transformers or peft loads.
_CONFIGURATIONS = ("config.json", "adapter_config.json")


def cache_folder(configured: str | None) -> Path:
    """``configured`` (``reference.cache_path``), else ``$PACT_CACHE_PATH``, else ``pact`` in the user's cache "
    "folder."""
    chosen = configured or os.environ.get("PACT_CACHE_PATH")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("pact", appauthor=False)


def can_only_be_a_path(name: str) -> bool:
    """Whether ``name`` cannot be the id of a repository on the hub."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def is_missing(name: str) -> bool:
    """Whether ``name`` is a path that leads nowhere; a missing path is not a wrong name of the hub."""
    return can_only_be_a_path(name) and not Path(name).expanduser().exists()


def no_such_folder(name: str) -> str:
    """What is said of a path that leads nowhere, with what lies there under a similar name."""
    return f"no such folder{_beside(name)}"


def why_no_model(name: str) -> str | None:
    """Why a path cannot be a model's folder; None where it may be one, and for a name that may be the hub's."""
    path = Path(name).expanduser()
    if is_missing(name):
        return no_such_folder(name)
    if path.is_file():
        return "it is a file; give the model's folder"
    if path.is_dir() and not any((path / file).is_file() for file in _CONFIGURATIONS):
        return f"it is no model's folder: there is no {_CONFIGURATIONS[0]} in it"
    return None


def _beside(name: str) -> str:
    path = Path(name).expanduser()
    with suppress(OSError):
        close = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1, cutoff=0.75)
        return f" (did you mean {path.parent / close[0]}?)" if close else ""
    return ""


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside ``target`` that becomes ``target`` when the block ends without an error.

    Afterwards its content and its name are on the disk: a power cut finds the old file or the new one, whole.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full; ``target`` is what it was.
    """
    final = Path(target)
    make_folder(final.parent)
    with _named_in_errors(final):
        handle, name = tempfile.mkstemp(dir=final.parent, prefix=f".{final.name[:100]}.", suffix=final.suffix)
        os.close(handle)
    temporary = Path(name)
    try:
        with _named_in_errors(final):
            yield temporary
            # mkstemp makes files private; give what the user's umask would have given.
            temporary.chmod(0o666 & ~_umask())
            _to_disk(temporary)
            temporary.replace(final)
            _to_disk(final.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder that becomes ``target``, a new or empty one, when the block ends without an error.

    An empty folder that is there stays the same one and is given the entries: a shell may be standing in it. Files and
    names are on the disk afterwards.

    Raises:
        OutputError: something cannot be written; ``target`` is what it was.
    """
    final = Path(target)
    with _named_in_errors(final):
        there = final.is_dir()
        home = final if there else final.parent
        home.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=home, prefix=f".{final.name[:100]}."))
    try:
        with _named_in_errors(final):
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            for path in [*temporary.rglob("*"), temporary]:
                _to_disk(path)
            if there:
                _move_entries(temporary, final)
            else:
                temporary.rename(final)
            _to_disk(home)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _to_disk(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folder, and writes names by itself
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network and FUSE file systems know no fsync of a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


@contextmanager
def _named_in_errors(target: Path) -> Iterator[None]:
    """What the system refuses is an OutputError that names ``target``; one that names a file already stays."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(_unwritable(target, error), error) from error


def _move_entries(source: Path, target: Path) -> None:
    """All of them, or none."""
    moved: list[Path] = []
    try:
        for entry in sorted(source.iterdir()):
            moved.append(entry.rename(target / entry.name))
    except BaseException:
        for entry in moved:
            entry.rename(source / entry.name)
        raise


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _unwritable(target: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{target} cannot be written: {reason}; make room, or name a folder that can be written"


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        OutputError: it cannot be made.
    """
    with _named_in_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Write a text file atomically; half of a surrogate pair, which is no UTF-8, is written as its escape."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(target: str | os.PathLike[str], value: Any) -> None:
    """Write a JSON file atomically. The escape of half of a surrogate pair is JSON's own: what was in is read again."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def parse_json(text: str | bytes) -> Any:
    """``json.loads`` for what somebody else wrote.

    Raises:
        ValueError: no JSON, a number of thousands of digits, or lists in lists in lists without an end.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("lists or objects stand in one another too deeply") from None


def read_settings(file: Path, usage: str) -> dict[str, Any]:
    """The settings in a framework's YAML.

    Args:
        usage: what belongs there, for the error message.

    Raises:
        ConfigurationError: the file is missing, is not YAML in UTF-8, or holds no settings.
    """
    from pact_plugins.yaml_text import parse_yaml  # every command imports this module

    if not file.is_file():
        what = " is a folder" if file.is_dir() else f": no such file{_beside(str(file))}"
        raise ConfigurationError(f"{file}{what}; {usage}")
    try:
        settings = parse_yaml(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"{file} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        what = "is empty" if settings is None else "holds no mapping of settings"
        raise ConfigurationError(f"{file} {what}; {usage}")
    return settings


def read_rows(path: str | os.PathLike[str], *, key: str) -> list[Any]:
    """Rows of a JSON (one list) or JSONL (one value a line) file.

    Args:
        key: the setting that named the file, for the error message.

    Raises:
        ConfigurationError: the file is missing, is not JSON in UTF-8, or holds no row.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigurationError(f"{key}: no such file: {file}")
    try:
        text = file.read_text(encoding="utf-8")
        rows = parse_json(text) if text.lstrip().startswith("[") else [parse_json(line) for line in _lines(text)]
    except ValueError as error:
        raise ConfigurationError(f"{key}: {file} is neither a JSON list nor JSON lines: {error}") from None
    if not rows:
        raise ConfigurationError(f"{key}: {file} holds no row")
    return rows


def _lines(text: str) -> list[str]:
    # Not splitlines: JSON may hold other line separators inside its strings.
    return [line for line in text.split("\n") if line.strip()]
