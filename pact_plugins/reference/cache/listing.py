"""What lies in a cache folder, without opening any shard."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pact_plugins.errors import ConfigurationError
from pact_plugins.files import parse_json
from pact_plugins.reference.cache.description import DESCRIPTION_FILE, FORMAT, StoreDescription, shard_names


@dataclass(frozen=True)
class ListedStore:
    """One folder.

    Attributes:
        description: None where its file is damaged.
    """

    name: str
    description: StoreDescription | None
    sequences: int
    response_tokens: int
    bytes: int

    @property
    def cells(self) -> tuple[str, ...]:
        """As one line of ``pact cache info``."""
        described = self.description
        if described is None:
            return (
                self.name,
                "damaged, or of another version",
                "",
                "",
                str(self.sequences),
                str(self.response_tokens),
                self._megabytes,
            )
        kept = "" if described.header is None else " + prompt-free"
        return (
            self.name,
            described.reference_model,
            described.dtype + (f", autocast {described.autocast}" if described.autocast else ""),
            f"{described.token_count} ({described.safety_tokens}){kept}",
            str(self.sequences),
            str(self.response_tokens),
            self._megabytes,
        )

    @property
    def _megabytes(self) -> str:
        return f"{self.bytes / 1e6:.1f}"


def list_stores(parent: Path) -> list[ListedStore]:
    """The stores under ``parent``, by name."""
    folders = sorted(path.parent for path in parent.glob(f"*/{DESCRIPTION_FILE}"))
    return [_listed(folder) for folder in folders]


def _listed(folder: Path) -> ListedStore:
    shards = [_read(folder / f"{name}.json") for name in sorted(shard_names(folder))]
    content = _read(folder / DESCRIPTION_FILE)
    names = [field.name for field in fields(StoreDescription)]
    whole = content.get("format") == FORMAT and all(name in content for name in names)
    return ListedStore(
        name=folder.name,
        description=StoreDescription(**{name: content[name] for name in names}) if whole else None,
        sequences=sum(_count(shard, "sequences") for shard in shards),
        response_tokens=sum(_count(shard, "response_tokens") for shard in shards),
        bytes=sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
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


def remove_store(parent: Path, name: str) -> None:
    """Delete one store.

    Raises:
        ConfigurationError: it cannot be deleted.
    """
    try:
        shutil.rmtree(parent / name)
    except OSError as error:
        raise ConfigurationError(f"reference.cache_path: {parent / name} cannot be deleted: {error}") from error
