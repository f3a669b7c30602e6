"""``AnchorSet``: replies that the reference itself gave, as one safetensors file whose metadata is JSON."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pact_plugins.batch.teacher_forcing import TeacherForced
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import write_json
from pact_plugins.tensor_file import load_tensor_file, save_tensor_file

FORMAT = "pact-anchors/2"
_TENSORS = dict.fromkeys(("context_ids", "context_lengths", "response_ids", "response_lengths"), torch.int64)
_METADATA = {"format": str, "kinds": dict}


@dataclass(frozen=True)
class AnchorSet:
    """Contexts and the reference's own sampled replies to them, kind by kind.

    Attributes:
        sequences: token ids of context and reply.
        kinds: how many of them answer prompts of each kind, in this order.
    """

    sequences: tuple[TeacherForced, ...]
    kinds: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def kind_of(self) -> tuple[str, ...]:
        """The kind of each."""
        return tuple(kind for kind, count in self.kinds.items() for _ in range(count))

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over all ids."""
        digest = hashlib.sha256(repr(dict(self.kinds)).encode())
        for sequence in self.sequences:
            digest.update(repr((list(sequence.context_ids), list(sequence.response_ids))).encode())
        return digest.hexdigest()[:16]

    def save(self, path: str | os.PathLike[str], *, tokenizer: Any = None) -> Path:
        """Write the file atomically and return its path; with a tokenizer, also as readable JSON beside it."""
        contexts = [list(sequence.context_ids) for sequence in self.sequences]
        responses = [list(sequence.response_ids) for sequence in self.sequences]
        tensors = {
            "context_ids": _flat(contexts),
            "context_lengths": torch.tensor([len(row) for row in contexts]),
            "response_ids": _flat(responses),
            "response_lengths": torch.tensor([len(row) for row in responses]),
        }
        metadata = {"format": FORMAT, "kinds": dict(self.kinds)}
        save_tensor_file(path, tensors, metadata)
        if tokenizer is not None:
            write_json(Path(path).with_suffix(".json"), self.readable(tokenizer))
        return Path(path)

    def readable(self, tokenizer: Any) -> list[dict[str, str]]:
        """Kind, context and reply of every anchor as text, special tokens included."""
        return [
            {
                "kind": kind,
                "context": tokenizer.decode(list(sequence.context_ids)),
                "reply": tokenizer.decode(list(sequence.response_ids)),
            }
            for kind, sequence in zip(self.kind_of, self.sequences, strict=True)
        ]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AnchorSet:
        """Read a file.

        Raises:
            ConfigurationError: it is missing, damaged, or something else.
        """
        kind = f"an anchor file of format {FORMAT!r}"
        tensors, metadata = load_tensor_file(path, _TENSORS, _METADATA, fail=ConfigurationError, what=kind)
        kinds = metadata["kinds"]
        if metadata["format"] != FORMAT:
            raise ConfigurationError(f"anchors: {path} is not {kind}: it has format {metadata['format']!r}")
        if any(bool((tensors[name] < 0).any()) for name in ("context_ids", "response_ids")):
            raise ConfigurationError(f"anchors: {path} is damaged: a token id is negative")
        contexts = _rows(tensors["context_ids"], tensors["context_lengths"], Path(path))
        responses = _rows(tensors["response_ids"], tensors["response_lengths"], Path(path))
        counted = all(isinstance(count, int) and count > 0 for count in kinds.values()) and sum(kinds.values())
        if not contexts or not len(contexts) == len(responses) == counted:
            raise ConfigurationError(f"anchors: {path} is damaged: {len(contexts)} contexts, {len(responses)} replies")
        return cls(tuple(map(TeacherForced, contexts, responses)), kinds)


def _flat(rows: Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor([index for row in rows for index in row], dtype=torch.int64)


def _rows(flat: Tensor, lengths: Tensor, path: Path) -> list[list[int]]:
    # A sum of huge lengths may wrap around.
    if bool(((lengths < 1) | (lengths > flat.numel())).any()) or int(lengths.sum()) != flat.numel():
        raise ConfigurationError(f"anchors: {path} is damaged: its lengths do not add up")
    return [row.tolist() for row in flat.split(lengths.tolist())]
