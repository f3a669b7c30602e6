"""One folder of shards: written atomically, checked when opened, mapped into memory, shared between processes."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pact_plugins.distributed import everyone, rank
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import atomic_path, parse_json, write_json
from pact_plugins.messages import announce
from pact_plugins.reference.cache.codec import decode
from pact_plugins.reference.cache.description import DESCRIPTION_FILE, FORMAT, StoreDescription, shard_names
from pact_plugins.reference.cache.entries import KEY_BYTES, Entry, Records, are_consistent, pack, record_bytes
from pact_plugins.tensor_file import write_tensors

_LOCK_FILE = "lock"


@dataclass(frozen=True)
class _Shard:
    path: Path
    records: Records

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        return self.records.tensors


class ReferenceStore:
    """The entries of one ``StoreDescription`` under ``parent``.

    Args:
        spare: where new entries go if ``parent`` cannot be written; those that ``parent`` holds are read all the same.

    Raises:
        ConfigurationError: no folder can be written.
    """

    def __init__(self, parent: Path, description: StoreDescription, *, spare: Path | None = None) -> None:
        self.description, self.folder = description, parent / description.name
        self._folders = [self.folder]
        try:
            self._begin()
        except OSError as error:
            if spare is None:
                raise ConfigurationError(
                    f"reference.cache_path: the reference cache cannot be written in {parent}: {error}. Name a "
                    "folder that can, or use reference.kind: auto"
                ) from error
            self.folder = spare / description.name
            self._folders.append(self.folder)
            self._begin()
            announce(
                f"the reference cache in {parent} cannot be written ({error.strerror}): what it lacks is kept in "
                f"{spare} and gone after this run; set reference.cache_path to a folder that can be written"
            )
        self._shards: list[_Shard] = []
        self._opened: set[str] = set()
        self._keys = numpy.zeros(0, dtype=f"S{KEY_BYTES}")
        self._places = numpy.zeros((0, 2), dtype=numpy.int64)
        self.refresh()

    def _begin(self) -> None:
        if not (self.folder / DESCRIPTION_FILE).is_file():
            write_json(self.folder / DESCRIPTION_FILE, {"format": FORMAT, **asdict(self.description)})
        with tempfile.TemporaryFile(dir=self.folder):  # a lock file may be there and the folder read-only
            (self.folder / _LOCK_FILE).touch()

    def __len__(self) -> int:
        return len(self._keys)

    def refresh(self) -> None:
        """Open the shards that other ranks and processes have finished since; a damaged one is taken away."""
        for folder in self._folders:
            for name in sorted(shard_names(folder) - self._opened):
                self._opened.add(name)
                tensors = self._open(folder, name)
                if tensors is None:
                    announce(f"the cached reference logits in {folder / name}.safetensors are damaged: computed again")
                    _remove(folder, name)
                    continue
                self._shards.append(_Shard(folder / f"{name}.safetensors", Records(tensors)))
        self._index()

    def _open(self, folder: Path, name: str) -> dict[str, Tensor] | None:
        path = folder / f"{name}.safetensors"
        try:
            index = parse_json((folder / f"{name}.json").read_text(encoding="utf-8"))
            # A file of another store is whole, and holds another model's numbers.
            if index["store"] != self.description.name:
                return None
            if path.stat().st_size != index["bytes"] or _checksum(path) != index["crc32"]:
                return None
            # The tensors are views of the mapped file: pages are read when they are looked at.
            with safe_open(str(path), framework="pt") as reader:
                tensors = {key: reader.get_tensor(key) for key in reader.keys()}  # noqa: SIM118
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            return None
        described = self.description
        prompt_free = described.header is not None
        return tensors if are_consistent(tensors, described.token_count, prompt_free=prompt_free) else None

    def _index(self) -> None:
        keys, places = [], []
        for number, shard in enumerate(self._shards):
            own = shard.tensors["keys"].numpy().view(f"S{KEY_BYTES}")
            keys.append(own)
            places.append(numpy.stack([numpy.full(len(own), number), numpy.arange(len(own))], axis=1))
        if keys:
            joined = numpy.concatenate(keys)
            order = joined.argsort(kind="stable")
            self._keys, self._places = joined[order], numpy.concatenate(places)[order]
        else:
            self._keys, self._places = self._keys[:0], self._places[:0]

    def locate(self, keys: Sequence[bytes]) -> list[tuple[int, int] | None]:
        """The place of each key, to be given to ``read``; None where the store lacks it."""
        wanted = numpy.array(keys, dtype=self._keys.dtype)
        if not len(self._keys):
            return [None] * len(keys)
        at = self._keys.searchsorted(wanted).clip(max=len(self._keys) - 1)
        found = self._keys[at] == wanted
        places = self._places[at].tolist()
        return [(place[0], place[1]) if hit else None for place, hit in zip(places, found.tolist(), strict=True)]

    def read(self, places: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor | None]:
        """``full`` and ``prompt_free`` (N, |S|) float32 of the sequences at ``places``.

        Raises:
            ConfigurationError: an entry is not what was written: its file was changed while it was in use.
        """
        for number, row in places:
            if not self._shards[number].records.is_whole(row):
                raise ConfigurationError(
                    f"reference.cache_path: the cached reference logits in {self._shards[number].path} were changed, "
                    "or the disk "
                    "fails: an entry is not what was written. Remove the file and resume; it is computed again"
                )
        prompt_free = None if self.description.header is None else self._logits(places, "prompt_free")
        return self._logits(places, "full"), prompt_free

    def _logits(self, places: Sequence[tuple[int, int]], kind: str) -> Tensor:
        spans = [(self._shards[number].tensors, self._shards[number].records.span(row)) for number, row in places]
        codes = torch.cat([tensors[f"{kind}_codes"][span] for tensors, span in spans])
        return decode(codes, torch.cat([tensors[f"{kind}_maximum"][span] for tensors, span in spans]))

    def tokens_at(self, place: tuple[int, int]) -> int:
        """Number of response tokens of one sequence."""
        span = self._shards[place[0]].records.span(place[1])
        return span.stop - span.start

    def write(self, entries: Sequence[Entry]) -> None:
        """Add a shard. Its index file comes last: without it, the shard does not exist."""
        name = uuid.uuid4().hex
        path = self.folder / f"{name}.safetensors"
        with atomic_path(path) as temporary:
            write_tensors(temporary, pack(entries))
            index = {
                "store": self.description.name,
                "bytes": temporary.stat().st_size,
                "crc32": _checksum(temporary),
                "sequences": len(entries),
                "response_tokens": sum(len(entry.full) for entry in entries),
            }
        write_json(self.folder / f"{name}.json", index)

    @property
    def record_bytes(self) -> int:
        """Bytes on disk of one response token."""
        return record_bytes(self.description.token_count, prompt_free=self.description.header is not None)

    @contextmanager
    def building(self) -> Iterator[None]:
        """Only one process, or one group of ranks, builds at a time; the others wait and then find its work done.

        Every rank must enter. A process that dies gives its lock back.
        """
        lock = FileLock(self.folder / _LOCK_FILE, thread_local=False) if rank() == 0 else None
        try:
            waiting = False
            # Ranks ask in turn rather than wait in a barrier, which would run into its time limit.
            while not everyone(lock is None or _try_lock(lock)):
                if not waiting:
                    announce(f"another process fills the reference cache {self.folder}; waiting for it")
                waiting = True
                time.sleep(1)
            if lock is not None:
                self._remove_unfinished()
            everyone(True)
            yield
            everyone(True)
        finally:
            if lock is not None:
                lock.release()

    def _remove_unfinished(self) -> None:
        for path in self.folder.glob("*.safetensors"):
            if path.name.startswith(".") or not path.with_suffix(".json").exists():
                path.unlink(missing_ok=True)


def _try_lock(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except (OSError, NotImplementedError):  # a file system without locks; shards of two builders do not collide
        return True
    return True


def _checksum(path: Path) -> int:
    value = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


def _remove(folder: Path, name: str) -> None:
    for suffix in (".json", ".safetensors"):
        with suppress(OSError):
            os.unlink(folder / f"{name}{suffix}")
