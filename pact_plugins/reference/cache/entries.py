"""What the cache holds of one sequence, and of many in one file."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from pact_plugins.reference.cache.codec import encode

KEY_BYTES = 16
_PER_TOKEN = ("full_codes", "full_maximum", "prompt_free_codes", "prompt_free_maximum")
_DTYPES = {
    "keys": torch.uint8,
    "token_offsets": torch.int64,
    "checksums": torch.int64,
    "full_codes": torch.int16,
    "full_maximum": torch.float32,
    "prompt_free_codes": torch.int16,
    "prompt_free_maximum": torch.float32,
}


@dataclass(frozen=True)
class Entry:
    """The reference's answers for the n response tokens of one sequence.

    Attributes:
        key: see ``TokenSequence.key``.
        full: (n, |S|) float32 logits in full context.
        prompt_free: (n, |S|) float32 logits without the prompt, or None.
    """

    key: bytes
    full: Tensor
    prompt_free: Tensor | None


def record_bytes(token_count: int, *, prompt_free: bool) -> int:
    """Bytes on disk of one response token."""
    return (2 * token_count + 4) * (2 if prompt_free else 1)


class Records:
    """The tensors of one shard, and where each sequence's part of them is."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        # Mapped memory, read when it is looked at. Slicing NumPy's views costs a fraction of slicing tensors.
        self._arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in tensors.items()}

    def span(self, row: int) -> slice:
        """Where the tokens of one sequence stand."""
        return slice(*self._arrays["token_offsets"][row : row + 2].tolist())

    def checksum(self, row: int) -> int:
        """CRC-32 over everything that one sequence's entry says."""
        arrays, tokens = self._arrays, self.span(row)
        value = zlib.crc32(arrays["keys"][row * KEY_BYTES : (row + 1) * KEY_BYTES])
        for name in _PER_TOKEN:
            if name in arrays:
                value = zlib.crc32(arrays[name][tokens], value)
        return value

    def is_whole(self, row: int) -> bool:
        """Whether an entry is what was written."""
        return bool(self._arrays["checksums"][row] == self.checksum(row))


def pack(entries: Sequence[Entry]) -> dict[str, Tensor]:
    """The tensors of one shard: records of equal size, one after another, and where each sequence begins."""
    tensors = {
        "keys": torch.frombuffer(bytearray(b"".join(entry.key for entry in entries)), dtype=torch.uint8).clone(),
        "token_offsets": _offsets([len(entry.full) for entry in entries]),
    }
    tensors["full_codes"], tensors["full_maximum"] = encode(torch.cat([entry.full for entry in entries]))
    if entries[0].prompt_free is not None:
        rows = torch.cat([entry.prompt_free for entry in entries if entry.prompt_free is not None])
        tensors["prompt_free_codes"], tensors["prompt_free_maximum"] = encode(rows)
    records = Records(tensors)
    tensors["checksums"] = torch.tensor([records.checksum(row) for row in range(len(entries))])
    return tensors


def _offsets(lengths: Sequence[int]) -> Tensor:
    return torch.tensor([0, *lengths], dtype=torch.int64).cumsum(0)


def are_consistent(tensors: Mapping[str, Tensor], token_count: int, *, prompt_free: bool) -> bool:
    """Whether a file's tensors fit together and hold what is asked for."""
    wanted = ["keys", "token_offsets", "checksums", *_PER_TOKEN[: 4 if prompt_free else 2]]
    if any(name not in tensors or tensors[name].dtype != _DTYPES[name] for name in wanted):
        return False
    shapes = {name: tuple(tensors[name].shape) for name in wanted}
    count, rest = divmod(tensors["keys"].numel(), KEY_BYTES)
    if rest or shapes["keys"] != (count * KEY_BYTES,) or shapes["checksums"] != (count,):
        return False
    total = _end(tensors["token_offsets"], count)
    per_token = [name for name in _PER_TOKEN if name in wanted]
    return all(shapes[name] == ((total, token_count) if name.endswith("codes") else (total,)) for name in per_token)


def _end(offsets: Tensor, count: int) -> int:
    """The last of ``count`` + 1 offsets that begin at 0 and ascend; -1 where they do not."""
    values = offsets.numpy()
    if values.shape != (count + 1,) or values[0] != 0 or bool((numpy.diff(values) <= 0).any()):
        return -1
    return int(values[-1])
