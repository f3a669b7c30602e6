"""The aligned model before the first step: where safety tokens are calibrated and anchors are sampled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from pact_plugins.contracts.reference import ReferenceSettings
from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import Anatomy
from pact_plugins.reference.adapters import adapters_off, refuse_unfaithful_adapter
from pact_plugins.reference.aligned_checkpoint import aligned_model_path, load_aligned_model
from pact_plugins.reference.faithfulness import left_when_off
from pact_plugins.reference.online import FrozenCopyReference


class AlignedModel:
    """The model in memory, with its adapters off, where that is the aligned one; else loaded, once, from its path.

    Args:
        resumed: training continues from weights that have moved already.
    """

    def __init__(self, anatomy: Anatomy, config: ReferenceSettings, *, resumed: bool) -> None:
        self._anatomy, self._config, self._resumed = anatomy, config, resumed
        self._loaded: Anatomy | None = None

    @cached_property
    def path(self) -> str | None:
        """Where it has to be loaded from; None where the model in memory is the aligned one.

        Raises:
            ConfigurationError: it has to be loaded and nobody knows from where.
        """
        # An adapter that has moved already can be switched off; what trains beside it cannot.
        moved = self._resumed and (self._anatomy.peft_model is None or bool(left_when_off(self._anatomy)))
        return aligned_model_path(self._anatomy, self._config, resumed=moved)

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

    def check_adapter_is_no_part(self) -> None:
        """Make sure that the adapter, which is switched off here, is no part of the reference.

        Raises:
            ConfigurationError: it is.
        """
        copies_all = self._config.reference == FrozenCopyReference.name and self.path is None
        if copies_all and self._anatomy.peft_model is not None:
            raise ConfigurationError(
                "anchor: with reference: frozen_copy the adapter's weights are part of the reference, so the replies "
                "cannot be sampled with the adapter off; set reference_model_path to the aligned model"
            )

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
