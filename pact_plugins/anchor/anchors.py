"""``AnchorSet``: replies that the reference itself gave, as one safetensors file whose metadata is JSON."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pact_plugins.batch.teacher_forcing import TeacherForced
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import write_json
from pact_plugins.tensor_file import load_tensor_file, save_tensor_file

FORMAT = "pact-anchors/1"
_TENSORS = dict.fromkeys(("context_ids", "context_lengths", "response_ids", "response_lengths"), torch.int64)
_METADATA = {"format": str, "harmful": int}


@dataclass(frozen=True)
class AnchorSet:
    """Contexts and the reference's own sampled replies to them, those to harmful prompts first.

    Attributes:
        sequences: token ids of context and reply.
        harmful: how many of them, from the first on, answer a harmful prompt; the others answer harmless ones.
    """

    sequences: tuple[TeacherForced, ...]
    harmful: int

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def harmless(self) -> int:
        """How many answer a harmless prompt."""
        return len(self) - self.harmful

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over all ids."""
        digest = hashlib.sha256(str(self.harmful).encode())
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
        metadata = {"format": FORMAT, "harmful": self.harmful}
        save_tensor_file(path, tensors, metadata)
        if tokenizer is not None:
            write_json(Path(path).with_suffix(".json"), self.readable(tokenizer))
        return Path(path)

    def readable(self, tokenizer: Any) -> list[dict[str, str]]:
        """Kind, context and reply of every anchor as text, special tokens included."""
        return [
            {
                "kind": "harmful" if number < self.harmful else "harmless",
                "context": tokenizer.decode(list(sequence.context_ids)),
                "reply": tokenizer.decode(list(sequence.response_ids)),
            }
            for number, sequence in enumerate(self.sequences)
        ]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AnchorSet:
        """Read a file.

        Raises:
            ConfigurationError: it is missing, damaged, or something else.
        """
        kind = f"an anchor file of format {FORMAT!r}"
        tensors, metadata = load_tensor_file(path, _TENSORS, _METADATA, fail=ConfigurationError, what=kind)
        harmful = metadata["harmful"]
        if metadata["format"] != FORMAT:
            raise ConfigurationError(f"anchors: {path} is not {kind}: it has format {metadata['format']!r}")
        if any(bool((tensors[name] < 0).any()) for name in ("context_ids", "response_ids")):
            raise ConfigurationError(f"anchors: {path} is damaged: a token id is negative")
        contexts = _rows(tensors["context_ids"], tensors["context_lengths"], Path(path))
        responses = _rows(tensors["response_ids"], tensors["response_lengths"], Path(path))
        if len(contexts) != len(responses) or not 0 < harmful < len(contexts):
            raise ConfigurationError(f"anchors: {path} is damaged: {len(contexts)} contexts, {len(responses)} replies")
        return cls(tuple(map(TeacherForced, contexts, responses)), harmful)


def _flat(rows: Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor([index for row in rows for index in row], dtype=torch.int64)


def _rows(flat: Tensor, lengths: Tensor, path: Path) -> list[list[int]]:
    # A sum of huge lengths may wrap around.
    if bool(((lengths < 1) | (lengths > flat.numel())).any()) or int(lengths.sum()) != flat.numel():
        raise ConfigurationError(f"anchors: {path} is damaged: its lengths do not add up")
    return [row.tolist() for row in flat.split(lengths.tolist())]
