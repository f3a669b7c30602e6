"""The digest of a model's weights, and how it is read from the files that a trainer has saved. Needs no torch.

It is over the content of the tensors, so that another order, other metadata, another split into shards or another
prefix of all names change nothing, and one bit of one weight does. The same digest is taken of a model in memory, see
``modeling.weights``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pact_plugins.errors import DataError
from pact_plugins.files import parse_json

ADAPTER_FILE = "adapter_model.safetensors"
MODEL_FILE = "model.safetensors"
_INDEX_FILE = "model.safetensors.index.json"
# Weights that only unpickling would tell apart, which nobody should do to see whether they are right.
_PICKLED = ("adapter_model.bin", "pytorch_model.bin", "pytorch_model.bin.index.json")
_BUFFER = 1 << 22
_LONGEST_HEADER = 100_000_000  # of the format itself
# The layer, and the expert, that a tensor belongs to.
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def entry_of(name: str, shape: Sequence[int], content: Iterable[Any]) -> str:
    """What one tensor brings to a digest.

    Args:
        name: in a file or in memory; only the numbers in it count.
        content: its bytes, row by row, in chunks.
    """
    digest = hashlib.sha256(repr(list(shape)).encode())
    for chunk in content:
        digest.update(chunk)
    return f"{'.'.join(_NUMBER.findall(name))}:{digest.hexdigest()}"


def digest_of(entries: Iterable[str]) -> str:
    """32 hexadecimal digits. A tensor that has two names, as a tied output embedding, counts once."""
    return hashlib.sha256("\n".join(sorted(set(entries))).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class SavedWeights:
    """What lies in a folder.

    Attributes:
        adapter, model: digests; None where there are no such weights.
        pickled: files that hold weights and are not read.
    """

    adapter: str | None = None
    model: str | None = None
    pickled: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.adapter is not None or self.model is not None


def saved_weights(folder: Path) -> SavedWeights:
    """Read every weight in ``folder`` once.

    Raises:
        DataError: a file is missing, truncated or no safetensors file.
    """
    adapter, shards = _adapter_file(folder), shards_in(folder)
    pickled = tuple(name for name in _PICKLED if (folder / name).is_file())
    return SavedWeights(
        None if adapter is None else digest_of(_entries([adapter])),
        digest_of(_entries(shards)) if shards else None,
        pickled,
    )


def _adapter_file(folder: Path) -> Path | None:
    """An adapter of a name of its own lies in a folder of that name; other runs' folders are none."""
    if (folder / ADAPTER_FILE).is_file():
        return folder / ADAPTER_FILE
    named = [file for file in folder.glob(f"*/{ADAPTER_FILE}") if not _is_a_run(file.parent)]
    return named[0] if len(named) == 1 else None


def _is_a_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("trainer_state.json", "training_args.bin", "pact.json"))


def shards_in(folder: Path) -> list[Path]:
    """The files of a whole model, those that a loader would read; none where there is no such model.

    Raises:
        DataError: one is missing.
    """
    if (folder / MODEL_FILE).is_file():
        return [folder / MODEL_FILE]
    index = folder / _INDEX_FILE
    if not index.is_file():
        return []
    try:
        names = sorted(set(parse_json(index.read_text(encoding="utf-8"))["weight_map"].values()))
        shards = [folder / Path(name).name for name in names]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{index} cannot be read: {error}") from error
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing[:3])}, which {index.name} names")
    return shards


def _entries(files: Sequence[Path]) -> list[str]:
    jobs = [(file, *place) for file in files for place in tensors_in(file)]
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda job: entry_of(job[1], job[2], _read(job[0], job[3], job[4])), jobs))


def tensors_in(file: Path) -> list[tuple[str, list[int], int, int]]:
    """Name, shape, and first and last byte of each tensor of a safetensors file.

    Raises:
        DataError: the file is truncated, or none.
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > _LONGEST_HEADER:
                raise ValueError("no safetensors file")
            header = parse_json(stream.read(length))
            size = stream.seek(0, 2)
        begin = 8 + length
        found = [
            (name, list(entry["shape"]), begin + entry["data_offsets"][0], begin + entry["data_offsets"][1])
            for name, entry in header.items()
            if name != "__metadata__"
        ]
        places = sorted((first, last) for _, _, first, last in found)
        if not all(type(place) is int for pair in places for place in pair):
            raise ValueError("a tensor's place is no number")
        touching = [(begin, begin), *places]
        if any(first != end or last < first for (_, end), (first, last) in pairwise(touching)):
            raise ValueError("its tensors do not lie one after another")
        if touching[-1][1] != size:
            raise ValueError(f"it has {size} bytes and should have {touching[-1][1]}: truncated, or written on")
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, json.JSONDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    return found


def _read(file: Path, first: int, last: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(min(_BUFFER, max(last - first, 1))))
    # Read, not mapped: a file that is cut short meanwhile is an error, and no signal that ends the process.
    with file.open("rb", buffering=0) as stream:
        stream.seek(first)
        while first < last:
            count = stream.readinto(buffer[: min(len(buffer), last - first)])
            if not count:
                raise DataError(f"{file} was cut short while it was read")
            first += count
            yield buffer[:count]
