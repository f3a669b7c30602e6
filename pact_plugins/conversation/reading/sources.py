"""Where the rows come from, and how some of them are written back as they were.

JSON is parsed here, not by ``datasets``: that fills absent columns with nulls and refuses columns of mixed type, and a
filtered copy would differ from the file it was made of in more than the rows that are missing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from pact_plugins.conversation.reading.conversations import BrokenRow
from pact_plugins.errors import ConfigurationError, DataError
from pact_plugins.files import atomic_path, parse_json, write_text

_FILES = (".json", ".jsonl", ".parquet")


class Source(Protocol):
    """Rows, and a way to write some of them in the format they came in.

    Attributes:
        name: as the user gave it.
        file: the local file, if it is one.
        rows: in order; a ``BrokenRow`` where one cannot be decoded.
        suffixes: of files that ``write`` can write.
    """

    name: str
    rows: Sequence[Any]
    suffixes: tuple[str, ...]

    @property
    def file(self) -> Path | None: ...

    def write(self, indices: Sequence[int], path: Path) -> None:
        """Write the rows at ``indices`` atomically, with all their columns."""
        ...


def open_source(data: str, *, split: str | None = None, config: str | None = None) -> Source:
    """A JSON, JSONL or Parquet file, or anything that ``datasets.load_dataset`` takes.

    Args:
        split, config: of a hub data set; the split is ``train`` where none is given.

    Raises:
        ConfigurationError: a split or configuration for a file, or a library that is not installed.
        DataError: nothing there, or not in the format that it seems to be in.
    """
    path = Path(data)
    if not path.is_file():
        if (path.suffix in _FILES or path.is_absolute()) and not path.is_dir():
            raise DataError(f"DATA: no such file: {data}")
        return HubSource(data, split=split or "train", config=config)
    if split is not None or config is not None:
        raise ConfigurationError(f"--split and --config are for data sets of the hub; {data} is a file")
    if path.suffix not in _FILES:
        raise DataError(f"DATA: {data} ends in none of {', '.join(_FILES)}")
    source = ParquetSource(path) if path.suffix == ".parquet" else _json_source(path)
    if not source.rows:
        raise DataError(f"DATA: {data} holds no row")
    return source


def _json_source(path: Path) -> Source:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"DATA: {path} is not UTF-8: {error}") from None
    # By content: many files that end in .json hold JSON lines.
    return JSONListSource(path, text) if text.lstrip().startswith("[") else JSONLinesSource(path, text)


class JSONListSource:
    """One JSON list."""

    suffixes: tuple[str, ...] = (".json",)

    def __init__(self, path: Path, text: str) -> None:
        self.name, self.file = str(path), path
        try:
            self.rows: Sequence[Any] = parse_json(text)
        except ValueError as error:
            raise DataError(f"DATA: {path} is no JSON list: {error}") from None

    def write(self, indices: Sequence[int], path: Path) -> None:
        text = json.dumps([self.rows[index] for index in indices], indent=2, ensure_ascii=False)
        write_text(path, text + "\n")


class JSONLinesSource:
    """One JSON value a line; the lines are written back as they were."""

    suffixes: tuple[str, ...] = (".jsonl", ".json")

    def __init__(self, path: Path, text: str) -> None:
        self.name, self.file = str(path), path
        # Not splitlines: JSON may hold other line separators inside its strings.
        self._lines = [line for line in text.split("\n") if line.strip()]
        self.rows: Sequence[Any] = [_parsed(line) for line in self._lines]
        if len(self.rows) > 1 and isinstance(self.rows[0], BrokenRow) and not isinstance(_parsed(text), BrokenRow):
            raise DataError(f"DATA: {path} holds one JSON object, not a list or lines of rows")

    def write(self, indices: Sequence[int], path: Path) -> None:
        write_text(path, "".join(self._lines[index] + "\n" for index in indices))


def _parsed(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        return BrokenRow(f"not JSON: {error}")


class ParquetSource:
    """A Parquet file, through pyarrow; the schema and its metadata are kept."""

    suffixes: tuple[str, ...] = (".parquet",)

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise ConfigurationError("DATA: Parquet needs pyarrow: pip install pyarrow") from None
        self.name, self.file = str(path), path
        try:
            self._table = pyarrow.parquet.read_table(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"DATA: {path} is no Parquet file: {_first_line(error)}") from None
        self.rows: Sequence[Any] = self._table.to_pylist()

    def write(self, indices: Sequence[int], path: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        with atomic_path(path) as temporary:
            pyarrow.parquet.write_table(self._table.take(pyarrow.array(indices, pyarrow.int64())), temporary)


class HubSource:
    """A data set that ``datasets.load_dataset`` finds: on the hub, in its cache, or in a local folder."""

    suffixes: tuple[str, ...] = (".parquet", ".jsonl", ".json")
    file: Path | None = None

    def __init__(self, name: str, *, split: str, config: str | None) -> None:
        try:
            from datasets import load_dataset
        except ImportError:
            raise ConfigurationError(
                f"DATA: {name} is no file, and a data set of the hub needs the datasets library: pip install datasets"
            ) from None
        self.name = name if config is None else f"{name} ({config})"
        try:
            self.rows: Any = load_dataset(name, config, split=split)
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            raise DataError(
                f"DATA: {name} is no file here and cannot be loaded as a data set (split {split}): {_first_line(error)}"
            ) from None
        if not len(self.rows):
            raise DataError(f"DATA: {name} holds no row in split {split}")

    def write(self, indices: Sequence[int], path: Path) -> None:
        chosen = self.rows.select(indices)
        with atomic_path(path) as temporary:
            if path.suffix == ".parquet":
                chosen.to_parquet(str(temporary))
            elif path.suffix == ".jsonl":
                chosen.to_json(str(temporary), force_ascii=False)
            else:
                chosen.to_json(str(temporary), lines=False, force_ascii=False)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
