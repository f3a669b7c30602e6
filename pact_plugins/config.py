"""``PACTConfig``: one schema for Python, the ``pact:`` block of every framework's YAML, and the command line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pact_plugins import plugins
from pact_plugins.drift_watch import DriftWatchConfig
from pact_plugins.errors import ConfigurationError
from pact_plugins.objective.gate_config import GateConfig, refuse_booleans
from pact_plugins.presets import BARE_PRESET, DEFAULT_PRESET, PRESET_KEYS, PRESETS, with_preset
from pact_plugins.visible import shortly

if TYPE_CHECKING:
    from pact_plugins.contracts import Objective

AUTO = "auto"
# Blocks of keys inside the configuration.
NESTED: Mapping[str, type[BaseModel]] = {"gate": GateConfig, "drift_watch": DriftWatchConfig}


class PACTConfig(BaseModel):
    """All settings of PACT. Unknown keys and impossible values raise an error that names the key.

    Constructing it directly raises pydantic's ``ValidationError`` (a ``ValueError``); ``from_mapping`` raises
    ``ConfigurationError`` with the same facts in the words of a YAML user.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    preset: str = Field(
        DEFAULT_PRESET, description=f"{', '.join(PRESETS)}: sets defaults of the other keys; what you write wins"
    )
    objective: str = Field("match", description="match, published, published_positive, full_kl, or a plugin's")
    objective_options: dict[str, Any] = Field(default_factory=dict, description="settings of a plugin's objective")
    kl_coef: float | None = Field(
        None, ge=0, le=1e4, description="weight of the term; 0 switches it off (default: the objective's own)"
    )
    kl_temperature: float = Field(2.0, gt=0, le=100, description="temperature of both softmaxes")
    gate: GateConfig = Field(default_factory=lambda: GateConfig(), description="gate of the published objectives")

    gate_training_rows: Literal["off", "report", "hard", "soft"] = Field(
        "off", description="weigh down, or only report, responses to requests that the reference would refuse"
    )
    gate_threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="refusal mass above which a response is gated (default: from the safety tokens, at least 0.5)",
    )
    anchor: Literal["off", "bundled", "gated"] = Field(
        "off", description="hold the model to the reference's own replies: to bundled prompts, or those of gated rows"
    )
    anchor_size: int = Field(64, ge=2, le=10_000, description="replies, half of them to harmful prompts")
    anchor_coef: float = Field(1.0, gt=0, le=1e4, description="weight of the anchor beside the cross-entropy")
    anchor_fraction: float = Field(
        0.25, gt=0, le=16, description="replies of an optimizer step, as a share of its responses; at least one"
    )
    anchor_every: int = Field(
        1, ge=1, le=1000, description="anchor every so many optimizer steps, with so many times the weight"
    )
    anchor_prompts_path: str | None = Field(
        None,
        description="JSON or JSONL rows with prompt and kind (harmful or harmless), instead of the bundled prompts",
    )
    anchor_max_new_tokens: int = Field(64, ge=1, le=4096, description="tokens of each reply")

    safety_tokens: str = Field(AUTO, min_length=1, description="a safety-token file, or auto to calibrate first")
    top_k: int = Field(50, ge=2, le=100_000, description="number of safety tokens (auto calibration)")
    token_scorer: str = Field("p_diff", description="p_diff, pref_logratio, or a plugin's (auto calibration)")
    include_openers: bool = Field(
        True, description="count the tokens that open refusals and compliant answers among the top_k (auto calibration)"
    )
    exclude_special_tokens: bool = Field(True, description="keep special tokens out of the safety tokens")
    base_model_path: str | None = Field(None, description="base model to contrast with (auto calibration)")
    refusals_path: str | None = Field(None, description="JSON or JSONL rows with prompt and response")
    harmful_prompts_path: str | None = Field(None, description="JSON or JSONL prompts to sample refusals on")
    harmless_prompts_path: str | None = Field(None, description="JSON or JSONL prompts to learn openers of help from")
    max_refusals: int = Field(512, ge=1, description="refusals used for calibration")
    max_response_tokens: int = Field(64, ge=1, description="tokens of each refusal used for calibration")
    calibration_batch_size: int = Field(16, ge=1, description="refusals per calibration batch")

    reference: str = Field(AUTO, description="auto, adapter_off, frozen_copy, cache, or a plugin's")
    reference_model_path: str | None = Field(None, description="load the aligned reference from here")
    assistant_header: str | None = Field(
        None, description="text that opens an assistant turn; needed where the chat template has no generation prompt"
    )
    cache_path: str | None = Field(
        None, description="folder for auto-calibrated safety tokens and cached reference logits (default: user cache)"
    )
    reference_check_every: int = Field(
        100, ge=0, description="optimizer steps between checks that the reference is unchanged; 0 never checks"
    )
    drift_watch: DriftWatchConfig | None = Field(
        None, description="look at the model's refusals every few steps; {} for the defaults below"
    )
    parts: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="further parts of the loss, from plugins: their names, each with its options"
    )
    receipts: Literal["exact", "present"] = Field(
        "exact", description="check the size of the gradient that reaches the term, or only that it arrives"
    )

    @field_validator("preset")
    @classmethod
    def _preset_is_known(cls, value: str) -> str:
        return _registered("preset", value, PRESETS)

    @field_validator("objective")
    @classmethod
    def _objective_is_registered(cls, value: str) -> str:
        return _registered("objective", value, plugins.objectives())

    @field_validator("token_scorer")
    @classmethod
    def _token_scorer_is_registered(cls, value: str) -> str:
        return _registered("token_scorer", value, plugins.token_scorers())

    @field_validator("reference")
    @classmethod
    def _reference_is_registered(cls, value: str) -> str:
        return value if value == AUTO else _registered("reference", value, [AUTO, *plugins.references()])

    @field_validator("gate_training_rows", "anchor", mode="before")
    @classmethod
    def _false_is_how_yaml_reads_off(cls, value: Any) -> Any:
        return "off" if value is False else value

    @field_validator("drift_watch", mode="before")
    @classmethod
    def _true_means_defaults(cls, value: Any) -> Any:
        return {} if value is True else None if value is False else value

    @field_validator("parts")
    @classmethod
    def _parts_are_registered(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in value:
            _registered("part", name, plugins.parts())
        return value

    @model_validator(mode="before")
    @classmethod
    def _booleans_are_no_numbers(cls, data: Any) -> Any:
        return refuse_booleans(cls, data)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_defaults(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        data = with_preset(data)
        if data.get("kl_coef") is None:
            objective = plugins.objectives().get(str(data.get("objective", "match")))
            if objective is not None:
                return {**data, "kl_coef": objective.default_kl_coef}
        return data

    @model_validator(mode="after")
    def _can_be_recorded(self) -> PACTConfig:
        # Found out at the end of training, it would cost ``pact.json``.
        for key, value in self:
            try:
                json.dumps(None if key in NESTED else value, ensure_ascii=False, allow_nan=False).encode()
            except (TypeError, ValueError, RecursionError) as error:
                raise ValueError(f"{key}: {shortly(value)} cannot be written as JSON: {error}") from None
        return self

    @model_validator(mode="after")
    def _reference_keys_agree(self) -> PACTConfig:
        if self.reference == "adapter_off" and self.reference_model_path is not None:
            raise ValueError(
                "reference: adapter_off reads the reference from the trained model itself, so reference_model_path "
                "has no effect; drop one of the two keys"
            )
        return self

    @property
    def can_fall_back(self) -> bool:
        """Whether nobody has asked for the preset, so that the bare term may take its place."""
        return "preset" not in self.model_fields_set

    def bare(self) -> PACTConfig:
        """The same with the term alone."""
        kept = self.model_dump(exclude={"preset", *PRESET_KEYS}, exclude_unset=True)
        return PACTConfig(preset=BARE_PRESET, **kept)

    @property
    def is_off(self) -> bool:
        """Whether nothing at all is to be added to the framework's own run, and nothing watched."""
        adds = self.holds_tokens or self.gates_rows or self.anchor != "off" or bool(self.parts)
        return not adds and self.drift_watch is None

    @property
    def holds_tokens(self) -> bool:
        """Whether the PACT term itself is computed."""
        return self.coefficient > 0

    @property
    def gates_rows(self) -> bool:
        """Whether training rows are scored by what the reference would refuse, weighted or only reported."""
        return self.gate_training_rows != "off"

    @property
    def weighs_rows(self) -> bool:
        """Whether the row gate changes the cross-entropy, and not only reports."""
        return self.gate_training_rows in ("hard", "soft")

    @property
    def coefficient(self) -> float:
        """``kl_coef`` as a plain float; the objective's default is already filled in."""
        return float(self.kl_coef or 0.0)

    def objective_spec(self) -> Objective:
        """The registered objective that this configuration names."""
        return plugins.objectives()[self.objective]

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any] | None, *, source: str = "pact") -> PACTConfig:
        """Read a plain mapping, such as the ``pact:`` block of a YAML file.

        Args:
            mapping: keys and values; None and ``True`` mean all defaults.
            source: how errors call the mapping.

        Raises:
            ConfigurationError: names every wrong key, with the nearest known one.
        """
        if mapping is None or mapping is True:
            mapping = {}
        if not isinstance(mapping, Mapping):
            raise ConfigurationError(f"{source}: expected a mapping of settings, found {shortly(mapping)}")
        try:
            # Half of a surrogate pair is no text to pydantic, which then names nothing.
            return cls(**{str(key).encode(errors="backslashreplace").decode(): mapping[key] for key in mapping})
        except ValidationError as error:
            raise ConfigurationError("\n".join(_explain(source, detail) for detail in error.errors())) from None


def _registered(key: str, value: str, known: Any) -> str:
    if value not in known:
        raise ValueError(f"unknown {key} {value!r}; available: {', '.join(known)}")
    return value


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    return list(NESTED.get(str(location[0]) if location else "", PACTConfig).model_fields)


def _explain(source: str, detail: Any) -> str:
    location = tuple(detail["loc"])
    key = ".".join([source, *(str(part)[:200].replace("\n", "\\n") for part in location)])
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(location[-1]), _known_keys(location[:-1]), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(_known_keys(location[:-1]))}"
        return f"{key}: unknown key; {hint}"
    found = "nothing" if detail["input"] is None else shortly(detail["input"])
    return f"{key}: {_in_words(detail, location)} (found {found})"


# What pydantic calls by the names of Python's types and of our classes.
_KINDS = {
    "bool": "must be true or false",
    "int": "must be a whole number",
    "float": "must be a number",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "dict": "must be a block of keys",
}


def _in_words(detail: Any, location: tuple[Any, ...]) -> str:
    kind = str(detail["type"])
    if kind.startswith("model"):
        words = f"{_KINDS['dict']} ({', '.join(_known_keys(location))})"
    else:
        known = next((words for start, words in _KINDS.items() if kind.startswith(start)), None)
        words = known or detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    return f"{words}; for the default leave the key out" if detail["input"] is None else words
