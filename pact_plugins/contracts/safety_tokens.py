"""``SafetyTokens``: what calibration found, as one safetensors file whose metadata is JSON."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pact_plugins.errors import SafetyTokensError
from pact_plugins.modeling.fingerprint import tokenizer_fingerprint
from pact_plugins.tensor_file import load_tensor_file, save_tensor_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["SafetyTokens"]

FORMAT = "pact-safety-tokens/1"
_TENSORS = {
    "token_ids": torch.int64,
    "direction": torch.float32,
    "aligned_probability": torch.float32,
    "contrast_probability": torch.float32,
}
_METADATA = {
    "format": str,
    "token_strings": list,
    "tokenizer_fingerprint": str,
    "vocabulary_size": int,
    "settings": dict,
}


@dataclass(frozen=True)
class SafetyTokens:
    """The safety tokens of one aligned model.

    Attributes:
        token_ids: (|S|,) int64, ascending.
        direction: (|S|,) float32, the signed entries; none is zero.
        aligned_probability, contrast_probability: (|S|,) float32, mean probabilities over the refusals.
        token_strings: |S| strings, as the tokenizer stores them.
        tokenizer_fingerprint: see ``tokenizer_fingerprint``.
        vocabulary_size: rows of the aligned model's output embedding.
        settings: how they were found (scorer, counts, model names and revisions ...); JSON values.
    """

    token_ids: Tensor
    direction: Tensor
    aligned_probability: Tensor
    contrast_probability: Tensor
    token_strings: tuple[str, ...]
    tokenizer_fingerprint: str
    vocabulary_size: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.token_strings)

    @property
    def weights(self) -> Tensor:
        """(|S|,) ``w = max(direction, 0)``."""
        return self.direction.clamp(min=0)

    @property
    def refusal_opening_tokens(self) -> tuple[int, ...]:
        """Ids of the tokens that open refusals, the most probable first; empty where calibration kept none."""
        return self._opening_tokens("refusal_opening_tokens")

    @property
    def refusal_openings(self) -> tuple[tuple[int, ...], ...]:
        """Token sequences that open refusals; in files that know none, every refusal opening token by itself."""
        value = self.settings.get("refusal_openings")
        if value is None:
            return tuple((index,) for index in self.refusal_opening_tokens)
        if not isinstance(value, list) or not all(isinstance(ids, list) and ids for ids in value):
            raise SafetyTokensError(f"the safety tokens are damaged: refusal_openings is {value!r}")
        return tuple(self._checked("refusal_openings", ids) for ids in value)

    @property
    def compliance_opening_tokens(self) -> tuple[int, ...]:
        """Ids of the tokens that open compliant answers, the most probable first; empty where there are none."""
        return self._opening_tokens("compliance_opening_tokens")

    @property
    def refusal_threshold(self) -> float:
        """Refusal mass above which the model refuses; 0.5 in files that do not say."""
        value = self.settings.get("refusal_threshold", 0.5)
        if not isinstance(value, float) or not 0 < value < 1:
            raise SafetyTokensError(f"the safety tokens are damaged: refusal_threshold is {value!r}")
        return value

    def _opening_tokens(self, key: str) -> tuple[int, ...]:
        return self._checked(key, self.settings.get(key, []))

    def _checked(self, key: str, ids: object) -> tuple[int, ...]:
        if not isinstance(ids, list) or not all(
            type(index) is int and 0 <= index < self.vocabulary_size for index in ids
        ):
            raise SafetyTokensError(f"the safety tokens are damaged: {key} is {ids!r}")
        return tuple(ids)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over ids and direction."""
        content = self.token_ids.numpy().tobytes() + self.direction.numpy().tobytes()
        return hashlib.sha256(content).hexdigest()[:16]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file atomically and return its path."""
        metadata = {
            "format": FORMAT,
            "token_strings": list(self.token_strings),
            "tokenizer_fingerprint": self.tokenizer_fingerprint,
            "vocabulary_size": self.vocabulary_size,
            "settings": dict(self.settings),
        }
        return save_tensor_file(path, {name: getattr(self, name) for name in _TENSORS}, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, tokenizer: PreTrainedTokenizerBase | None = None) -> SafetyTokens:
        """Read a file, and check it against ``tokenizer`` where one is given.

        Raises:
            SafetyTokensError: the file is missing or damaged, or belongs to another tokenizer.
        """
        file = Path(path)
        if not file.is_file():
            raise SafetyTokensError(
                f"safety_tokens: no such file: {file}. Make one with `pact calibrate MODEL -o {file}`, "
                "or leave safety_tokens.file out"
            )
        kind = f"a safety-token file of format {FORMAT!r}"
        tensors, metadata = load_tensor_file(file, _TENSORS, _METADATA, fail=SafetyTokensError, what=kind)
        if metadata["format"] != FORMAT:
            raise SafetyTokensError(f"{file} is not {kind}: it has format {metadata['format']!r}")
        _check_consistency(file, tensors, metadata)
        tokens = cls(
            **tensors,
            token_strings=tuple(metadata["token_strings"]),
            tokenizer_fingerprint=metadata["tokenizer_fingerprint"],
            vocabulary_size=metadata["vocabulary_size"],
            settings=metadata["settings"],
        )
        if tokenizer is not None:
            tokens.check_tokenizer(tokenizer, source=str(file))
        return tokens

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase, *, source: str = "the safety tokens") -> None:
        """Make sure that the ids mean the same tokens under ``tokenizer``.

        Raises:
            SafetyTokensError: the vocabularies differ, or one of the tokens has another id.
        """
        found = tokenizer_fingerprint(tokenizer)
        strings = tuple(str(token) for token in tokenizer.convert_ids_to_tokens(self.token_ids.tolist()))
        if found != self.tokenizer_fingerprint or strings != self.token_strings:
            raise SafetyTokensError(
                f"safety_tokens: {source} belongs to another tokenizer (fingerprint {self.tokenizer_fingerprint}, this "
                f"one has {found}). Calibrate again with this model: `pact calibrate MODEL -o FILE`"
            )

    def check_vocabulary(self, vocabulary_size: int) -> None:
        """Make sure that every id has a row in an output embedding of ``vocabulary_size`` rows.

        Raises:
            SafetyTokensError: it does not.
        """
        largest = int(self.token_ids.max())
        if largest >= vocabulary_size:
            raise SafetyTokensError(
                f"safety token {self.token_strings[-1]!r} has id {largest}, but the model's output embedding has only "
                f"{vocabulary_size} rows: the tokenizer has tokens that the model lacks (resize_token_embeddings)"
            )

    @classmethod
    def from_direction(
        cls,
        direction: Tensor,
        *,
        aligned_probability: Tensor,
        contrast_probability: Tensor,
        tokenizer: PreTrainedTokenizerBase,
        settings: Mapping[str, Any],
    ) -> SafetyTokens:
        """Keep the nonzero entries of a (V,) direction and of the (V,) mean probabilities."""
        token_ids = direction.nonzero()[:, 0].cpu()
        return cls(
            token_ids=token_ids,
            direction=direction.cpu()[token_ids].float(),
            aligned_probability=aligned_probability.cpu()[token_ids].float(),
            contrast_probability=contrast_probability.cpu()[token_ids].float(),
            token_strings=tuple(str(token) for token in tokenizer.convert_ids_to_tokens(token_ids.tolist())),
            tokenizer_fingerprint=tokenizer_fingerprint(tokenizer),
            vocabulary_size=direction.numel(),
            settings=settings,
        )

    @classmethod
    def random(cls, tokenizer: PreTrainedTokenizerBase, vocabulary_size: int, *, count: int, seed: int) -> SafetyTokens:
        """The control experiment: ``count`` random ordinary tokens of equal weight."""
        special = set(tokenizer.all_special_ids)
        ordinary = torch.tensor([i for i in range(min(len(tokenizer), vocabulary_size)) if i not in special])
        generator = torch.Generator().manual_seed(seed)
        chosen = ordinary[torch.randperm(len(ordinary), generator=generator)[:count]]
        direction = torch.zeros(vocabulary_size)
        direction[chosen] = 1.0 / count**0.5
        probability = torch.zeros(vocabulary_size)
        return cls.from_direction(
            direction,
            aligned_probability=probability,
            contrast_probability=probability,
            tokenizer=tokenizer,
            settings={"scorer": "random", "seed": seed, "top_k": count},
        )


def _check_consistency(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    strings, size = metadata["token_strings"], metadata["vocabulary_size"]
    if not all(isinstance(string, str) for string in strings):
        raise SafetyTokensError(f"{file} is damaged: token_strings are {strings!r:.80}")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if not strings or any(shape != (len(strings),) for shape in shapes.values()):
        raise SafetyTokensError(f"{file} is damaged: {len(strings)} token strings, tensor shapes {shapes}")
    token_ids = tensors["token_ids"]
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise SafetyTokensError(f"{file} is damaged: a number is not finite")
    if bool((token_ids.diff() <= 0).any()):
        raise SafetyTokensError(f"{file} is damaged: token_ids are not strictly ascending")
    if int(token_ids[0]) < 0 or int(token_ids[-1]) >= size:
        raise SafetyTokensError(f"{file} is damaged: token_ids do not fit a vocabulary of {size}")
