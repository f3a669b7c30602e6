"""The aligned model before the first step: where safety tokens are calibrated and anchors are sampled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import Anatomy
from pact_plugins.training.reference import (
    adapters_off,
    aligned_model_path,
    load_aligned_model,
    refuse_unfaithful_adapter,
)

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig


class AlignedModel:
    """The model in memory, with its adapters off, where that is the aligned one; else loaded, once, from its path.

    Args:
        resumed: training continues from weights that have moved already.

    Raises:
        ConfigurationError: it would have to be loaded and nobody knows from where.
    """

    def __init__(self, anatomy: Anatomy, config: PACTConfig, *, resumed: bool) -> None:
        self._anatomy = anatomy
        # An adapter that has moved already can be switched off.
        self.path = aligned_model_path(anatomy, config, resumed=resumed and anatomy.peft_model is None)
        self._loaded: Anatomy | None = None

    @contextmanager
    def running(self) -> Iterator[Anatomy]:
        """The aligned model's parts, to be run inside the block.

        Raises:
            ConfigurationError: it cannot be loaded, or switching the adapter off does not give it back.
        """
        if self.path is not None:
            self._loaded = self._loaded or load_aligned_model(self.path, self._anatomy)
            yield self._loaded
        elif self._anatomy.peft_model is None:
            yield self._anatomy
        else:
            refuse_unfaithful_adapter(self._anatomy.peft_model)
            with adapters_off(self._anatomy.peft_model):
                yield self._anatomy

    def check_vocabulary(self, anatomy: Anatomy) -> None:
        """Make sure that a loaded model has the trained model's vocabulary, row for row.

        Raises:
            ConfigurationError: it has not.
        """
        if anatomy.vocabulary_size != self._anatomy.vocabulary_size:
            raise ConfigurationError(
                f"reference_model_path: {self.path} has {anatomy.vocabulary_size} output tokens and the trained model "
                f"{self._anatomy.vocabulary_size}; the anchor needs the same vocabulary"
            )
