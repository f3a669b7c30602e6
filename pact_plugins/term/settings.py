"""The ``term:`` block of a configuration. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from pydantic import Field, field_validator, model_validator

from pact_plugins import plugins
from pact_plugins.contracts import MixtureSettings, Needs, Objective, ResponseKind
from pact_plugins.settings import Block, registered


def _own_weight(chosen: Mapping[str, Any]) -> float:
    spec = plugins.objectives().get(chosen.get("objective", ""))
    return 1.0 if spec is None else spec.default_weight


class TermSettings(Block):
    """What is held of the model in training, and how strongly."""

    objective: str = Field(
        "match", description="match, log_odds, published, published_positive, full_kl, or a plugin's"
    )
    weight: float = Field(
        default_factory=_own_weight,
        gt=0,
        le=1e4,
        description="weight of the term beside the cross-entropy (default: the objective's own)",
    )
    temperature: float = Field(2.0, gt=0, le=100, description="temperature of both softmaxes")
    mixture: MixtureSettings = Field(
        default_factory=MixtureSettings, description="how the published objectives mix two references"
    )
    rows: ResponseKind = Field(
        "all",
        description="answered: without responses to requests that the reference would refuse; refused: these alone",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="settings of a plugin's objective")
    log_gradients: bool = Field(
        False, description="log how the term's gradient compares with the cross-entropy's: its share, and the angle"
    )

    @field_validator("objective")
    @classmethod
    def _objective_is_registered(cls, value: str) -> str:
        return registered("objective", value, plugins.objectives())

    @model_validator(mode="after")
    def _every_key_has_an_effect(self) -> TermSettings:
        for key in ("temperature", "mixture", "options"):
            if key not in self.spec.reads and self.differs_from_default(key):
                raise ValueError(f"{key} has no effect on objective: {self.objective}; leave it out")
        return self

    @property
    def spec(self) -> Objective:
        """The registered objective that is named."""
        return plugins.objectives()[self.objective]


def needs(settings: TermSettings) -> Needs:
    """Logits of the objective's tokens, prompt-free ones where it mixes them, and a few masses for the log."""
    spec = settings.spec
    return Needs(
        logits=None if spec.full_vocabulary else spec.tokens,
        whole_vocabulary=spec.full_vocabulary,
        prompt_free=spec.needs_prompt_free(settings.mixture),
        logits_in=settings.rows,
        measured=not spec.full_vocabulary and settings.rows == "all",
        weights=spec.needs_weights,
        refusal_mass=settings.rows != "all",
        exact_above=None if settings.rows == "all" else attrgetter("refusal_threshold"),
    )
