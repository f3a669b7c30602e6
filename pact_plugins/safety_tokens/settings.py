"""The ``safety_tokens:`` block of a configuration. Imports no torch."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from pact_plugins import plugins
from pact_plugins.settings import Block, registered

# Read while forward passes are made for other things as well.
# A preset may set ``include_openings``, and a file of tokens beside it is no contradiction.
_NOT_OF_CALIBRATION = ("file", "batch_size", "include_openings")


class SafetyTokensSettings(Block):
    """Where the safety tokens come from: a file, or a calibration before training."""

    file: str | None = Field(None, min_length=1, description="a safety-token file; without one the model is calibrated")
    top_k: int = Field(50, ge=2, le=100_000, description="number of safety tokens")
    scorer: str = Field("p_diff", description="p_diff, pref_logratio, or a plugin's")
    include_openings: bool = Field(
        True, description="count the tokens that open refusals and compliant answers among the top_k"
    )
    exclude_special_tokens: bool = Field(True, description="keep special tokens out of the safety tokens")
    base_model_path: str | None = Field(None, description="base model to contrast with")
    refusals_path: str | None = Field(None, description="JSON or JSONL rows with prompt and response")
    harmful_prompts_path: str | None = Field(None, description="JSON or JSONL prompts to sample refusals on")
    harmless_prompts_path: str | None = Field(None, description="JSON or JSONL prompts to learn openings of help from")
    max_refusals: int = Field(512, ge=1, description="refusals used for calibration")
    max_response_tokens: int = Field(64, ge=1, description="tokens of each refusal used for calibration")
    batch_size: int = Field(
        16, ge=1, description="sequences of 512 tokens in a forward pass before training; of shorter ones as many more"
    )

    def files(self) -> dict[str, str | None]:
        # A base model is a folder, or of the hub.
        return {key: value for key, value in super().files().items() if key != "base_model_path"} | {"file": self.file}

    @field_validator("scorer")
    @classmethod
    def _scorer_is_registered(cls, value: str) -> str:
        return registered("scorer", value, plugins.token_scorers())

    @model_validator(mode="after")
    def _every_key_has_an_effect(self) -> SafetyTokensSettings:
        for key in type(self).model_fields if self.file is not None else ():
            if key not in _NOT_OF_CALIBRATION and self.differs_from_default(key):
                raise ValueError(f"{key} has no effect on safety tokens that are read from a file; drop it, or file")
        if self.refusals_path is not None and self.harmful_prompts_path is not None:
            raise ValueError("harmful_prompts_path has no effect where refusals_path names the refusals; drop one")
        return self
