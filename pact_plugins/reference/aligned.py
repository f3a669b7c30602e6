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
        trained: the model in memory.
        resumed: training continues from weights that have moved already.
    """

    def __init__(self, trained: Anatomy, settings: ReferenceSettings, *, resumed: bool) -> None:
        self.trained, self._settings, self._resumed = trained, settings, resumed
        self._loaded: Anatomy | None = None

    @cached_property
    def path(self) -> str | None:
        """Where it has to be loaded from; None where the model in memory is the aligned one.

        Raises:
            ConfigurationError: it has to be loaded and nobody knows from where.
        """
        # An adapter that has moved already can be switched off; what trains beside it cannot.
        moved = self._resumed and (self.trained.peft_model is None or bool(left_when_off(self.trained)))
        return aligned_model_path(self.trained, self._settings, resumed=moved)

    @contextmanager
    def running(self) -> Iterator[Anatomy]:
        """The aligned model's parts, to be run inside the block.

        Raises:
            ConfigurationError: it cannot be loaded, or switching the adapter off does not give it back.
        """
        if self.path is not None:
            self._loaded = self._loaded or load_aligned_model(self.path, self.trained)
            yield self._loaded
        elif self.trained.peft_model is None:
            yield self.trained
        else:
            refuse_unfaithful_adapter(self.trained.peft_model)
            with adapters_off(self.trained.peft_model):
                yield self.trained

    def check_adapter_is_no_part(self) -> None:
        """Make sure that the adapter, which is switched off here, is no part of the reference.

        Raises:
            ConfigurationError: it is.
        """
        copies_all = self._settings.kind == FrozenCopyReference.name and self.path is None
        if copies_all and self.trained.peft_model is not None:
            raise ConfigurationError(
                "anchor: with reference.kind: frozen_copy the adapter's weights are part of the reference, so the "
                "replies cannot be sampled with the adapter off; set reference.path to the aligned model"
            )

    def check_vocabulary(self, anatomy: Anatomy) -> None:
        """Make sure that a loaded model has the trained model's vocabulary, row for row.

        Raises:
            ConfigurationError: it has not.
        """
        if anatomy.vocabulary_size != self.trained.vocabulary_size:
            raise ConfigurationError(
                f"reference.path: {self.path} has {anatomy.vocabulary_size} output tokens and the trained model "
                f"{self.trained.vocabulary_size}; the anchor needs the same vocabulary"
            )
