"""The ``reference:`` block of a configuration. Imports no torch."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from pact_plugins import plugins
from pact_plugins.settings import Block, registered

AUTO = "auto"


class ReferenceSettings(Block):
    """What answers for the aligned model while training."""

    kind: str = Field(AUTO, description="auto, adapter_off, frozen_copy, cache, or a plugin's")
    path: str | None = Field(None, description="load the aligned model from here")
    check_every: int = Field(
        100, ge=0, description="optimizer steps between checks that the reference is unchanged; 0 never checks"
    )
    cache_path: str | None = Field(
        None, description="folder for calibrated safety tokens, sampled replies and cached logits (default: user cache)"
    )
    assistant_header: str | None = Field(
        None, description="text that opens an assistant turn; needed where the chat template has no generation prompt"
    )

    def files(self) -> dict[str, str | None]:
        # The aligned model is a folder, or of the hub; the cache's folder is made.
        return {}

    @field_validator("kind")
    @classmethod
    def _kind_is_registered(cls, value: str) -> str:
        return registered("reference", value, [AUTO, *plugins.references()])

    @model_validator(mode="after")
    def _keys_agree(self) -> ReferenceSettings:
        if self.kind == "adapter_off" and self.path is not None:
            raise ValueError(
                "kind: adapter_off reads the reference from the trained model itself, so path has no effect; drop one"
            )
        return self
