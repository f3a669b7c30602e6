"""What the cache holds of one sequence, and of many in one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pact_plugins.reference.cache.codec import encode

KEY_BYTES = 16
_PER_TOKEN = ("full_codes", "full_maximum", "prompt_free_codes", "prompt_free_maximum")


@dataclass(frozen=True)
class Entry:
    """The reference's answers for the n response tokens of one sequence.

    Attributes:
        key: see ``TokenSequence.key``.
        full: (n, |S|) float32 logits in full context.
        prompt_free: (n, |S|) float32 logits without the prompt, or None.
        refusal_mass: (number of responses,) float32, or None.
    """

    key: bytes
    full: Tensor
    prompt_free: Tensor | None
    refusal_mass: Tensor | None


def record_bytes(token_count: int, *, prompt_free: bool) -> int:
    """Bytes on disk of one response token."""
    return (2 * token_count + 4) * (2 if prompt_free else 1)


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
    if entries[0].refusal_mass is not None:
        masses = [entry.refusal_mass for entry in entries if entry.refusal_mass is not None]
        tensors["refusal_mass"] = torch.cat(masses).float()
        tensors["response_offsets"] = _offsets([len(mass) for mass in masses])
    return tensors


def _offsets(lengths: Sequence[int]) -> Tensor:
    return torch.tensor([0, *lengths], dtype=torch.int64).cumsum(0)


def are_consistent(tensors: dict[str, Tensor], token_count: int, *, prompt_free: bool, refusal_mass: bool) -> bool:
    """Whether a file's tensors fit together and hold what is asked for."""
    wanted = ["keys", "token_offsets", *_PER_TOKEN[: 4 if prompt_free else 2]]
    wanted += ["refusal_mass", "response_offsets"] if refusal_mass else []
    if any(name not in tensors for name in wanted):
        return False
    offsets, count = tensors["token_offsets"], tensors["keys"].numel() // KEY_BYTES
    if offsets.numel() != count + 1 or bool((offsets.diff() <= 0).any()):
        return False
    total = int(offsets[-1])
    if any(tensors[name].shape[0] != total for name in wanted if name in _PER_TOKEN):
        return False
    if refusal_mass and int(tensors["response_offsets"][-1]) != tensors["refusal_mass"].numel():
        return False
    return tensors["full_codes"].shape[1] == token_count
