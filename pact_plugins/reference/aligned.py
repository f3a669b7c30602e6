"""The aligned model before the first step: where safety tokens are calibrated and anchors are sampled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from pact_plugins.batch.replies import SampledReplies
from pact_plugins.contracts.reference import ReferenceSettings
from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import ModelParts, weights_fingerprint
from pact_plugins.reference.adapters import adapters_off, refuse_unfaithful_adapter
from pact_plugins.reference.aligned_checkpoint import aligned_model_path, load_aligned_model
from pact_plugins.reference.faithfulness import left_when_off
from pact_plugins.reference.online import FrozenCopyReference


class AlignedModel:
    """The model in memory, with its adapters off, where that is the aligned one; else loaded, once, from its path.

    Args:
        trained: the model in memory.
        resumed: training continues from weights that have moved already.
        expected: fingerprint of the model that the run's first segment was held to; None for that segment itself.
    """

    def __init__(
        self, trained: ModelParts, settings: ReferenceSettings, *, resumed: bool, expected: str | None = None
    ) -> None:
        self.trained, self._settings, self._resumed, self._expected = trained, settings, resumed, expected
        self._loaded: ModelParts | None = None
        self.replies = SampledReplies()

    @cached_property
    def path(self) -> str | None:
        """Where it has to be loaded from; None where the model in memory is the aligned one.

        Raises:
            ConfigurationError: it has to be loaded and nobody knows from where.
        """
        # An adapter that has moved already can be switched off; what trains beside it cannot.
        moved = self._resumed and (self.trained.peft_model is None or bool(left_when_off(self.trained)))
        return aligned_model_path(self.trained, self._settings, resumed=moved)

    def loaded(self) -> ModelParts:
        """What lies at ``path``, loaded once for all who need it; nobody may change it.

        Raises:
            ConfigurationError: it cannot be loaded, or is not what the run began from.
        """
        if self._loaded is None:
            assert self.path is not None
            self._loaded = load_aligned_model(self.path, self.trained)
            self._compare(weights_fingerprint(self._loaded.causal_lm))
        return self._loaded

    @cached_property
    def fingerprint(self) -> str | None:
        """Of the aligned weights; None where they need not be loaded. Every rank must call it before the first step.

        Raises:
            ConfigurationError: the model in memory is not what the run began from.
        """
        if self.path is None:
            return self._compare(weights_fingerprint(self.trained.causal_lm))
        return None if self._loaded is None else weights_fingerprint(self._loaded.causal_lm)

    def _compare(self, found: str) -> str:
        if self._expected is not None and found != self._expected:
            where = "in memory" if self.path is None else f"at {self.path}"
            raise ConfigurationError(
                f"the model {where} is not the aligned model that this run began from (its weights' fingerprint is "
                f"{found}, the checkpoint says {self._expected}): they were replaced since, or the run began from "
                "weights that were in memory only, such as a merged adapter. Set reference.path to the aligned model "
                "that it began from"
            )
        return found

    @contextmanager
    def running(self) -> Iterator[ModelParts]:
        """The aligned model's parts, to be run inside the block.

        Raises:
            ConfigurationError: it cannot be loaded, or switching the adapter off does not give it back.
        """
        if self.path is not None:
            yield self.loaded()
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

    def check_vocabulary(self, model_parts: ModelParts) -> None:
        """Make sure that a loaded model has the trained model's vocabulary, row for row.

        Raises:
            ConfigurationError: it has not.
        """
        if model_parts.vocabulary_size != self.trained.vocabulary_size:
            raise ConfigurationError(
                f"reference.path: {self.path} has {model_parts.vocabulary_size} output tokens and the trained model "
                f"{self.trained.vocabulary_size}; the anchor needs the same vocabulary"
            )
