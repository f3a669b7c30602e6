"""What lies in a cache folder: stores of logits and of refusal masses, without opening any. Imports no torch."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pact_plugins.errors import ConfigurationError, DataError
from pact_plugins.files import parse_json
from pact_plugins.reference.cache.description import (
    DESCRIPTION_FILE,
    FORMAT,
    LOGITS,
    MASSES,
    MASSES_FORMAT,
    StoreDescription,
    shard_names,
)
from pact_plugins.weight_files import tensors_in

_UNKNOWN = "damaged, or of another version"


@dataclass(frozen=True)
class ListedStore:
    """One folder.

    Attributes:
        path: of the folder; its last part is the store's name.
        holds: what is kept of each entry.
        reference_model, precision: of the model that said it, empty where nobody can tell.
        entries: sequences of logits, or requests with a refusal mass.
        response_tokens: of the sequences.
        bytes: on disk.
    """

    path: Path
    holds: str
    reference_model: str
    precision: str
    entries: int
    response_tokens: int
    bytes: int

    @property
    def cells(self) -> tuple[str, ...]:
        """As one line of ``pact cache info``."""
        of_token = f"{self.bytes / self.response_tokens:.0f}" if self.response_tokens else ""
        tokens = str(self.response_tokens) if self.response_tokens else ""
        numbers = (str(self.entries), tokens, of_token, f"{self.bytes / 1e6:.1f}")
        return (self.path.name, self.holds, self.reference_model, self.precision, *numbers)


def list_stores(cache: Path) -> list[ListedStore]:
    """The stores of a cache folder, by kind and name."""
    logits = [_of_logits(path.parent) for path in sorted((cache / LOGITS).glob(f"*/{DESCRIPTION_FILE}"))]
    return [*logits, *(_of_masses(path) for path in sorted((cache / MASSES).glob("*")) if path.is_dir())]


def _of_logits(folder: Path) -> ListedStore:
    shards = [_read(folder / f"{name}.json") for name in sorted(shard_names(folder))]
    content = _read(folder / DESCRIPTION_FILE)
    names = [field.name for field in fields(StoreDescription)]
    holds = _UNKNOWN
    if content.get("format") == FORMAT and all(name in content for name in names):
        described = StoreDescription(**{name: content[name] for name in names})
        prompt_free = "" if described.header is None else " + prompt-free"
        holds = f"logits of {described.token_count} tokens ({described.safety_tokens}){prompt_free}"
    counts = [sum(_count(shard, name) for shard in shards) for name in ("sequences", "response_tokens")]
    return _listed(folder, holds, content, (counts[0], counts[1]))


def _of_masses(folder: Path) -> ListedStore:
    content, requests = _read(folder / DESCRIPTION_FILE), 0
    holds = "refusal masses" if content.get("format") == MASSES_FORMAT else _UNKNOWN
    for file in folder.glob("*.safetensors"):
        try:
            requests += sum(shape[0] for name, shape, *_ in tensors_in(file) if name == "masses")
        except (DataError, OSError):
            holds = _UNKNOWN
    return _listed(folder, holds, content, (requests, 0))


def _listed(folder: Path, holds: str, content: dict[str, Any], counts: tuple[int, int]) -> ListedStore:
    said = content if holds != _UNKNOWN else {}
    autocast = f", autocast {said['autocast']}" if said.get("autocast") else ""
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return ListedStore(
        folder, holds, str(said.get("reference_model", "")), f"{said.get('dtype', '')}{autocast}", *counts, size
    )


def _count(shard: dict[str, Any], name: str) -> int:
    value = shard.get(name)
    return value if isinstance(value, int) else 0


def _read(path: Path) -> dict[str, Any]:
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def remove_store(folder: Path) -> None:
    """Delete one store.

    Raises:
        ConfigurationError: it cannot be deleted.
    """
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise ConfigurationError(f"reference.cache_path: {folder} cannot be deleted: {error}") from error
