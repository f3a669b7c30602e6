"""``PACTConfig``: one schema for Python, the ``pact:`` block of every framework's YAML, and the command line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from pact_plugins import plugins
from pact_plugins.drift_watch.settings import DriftWatchSettings
from pact_plugins.errors import ConfigurationError
from pact_plugins.moved_keys import moved_to
from pact_plugins.presets import DEFAULT_PRESET, OFF, over_preset
from pact_plugins.reference.settings import ReferenceSettings
from pact_plugins.safety_tokens.settings import SafetyTokensSettings
from pact_plugins.settings import Block
from pact_plugins.visible import shortly

if TYPE_CHECKING:
    from pact_plugins.safety_tokens.recipe import Recipe

Location = tuple[int | str, ...]


class PACTConfig(Block):
    """All settings of PACT: one block for each part of the loss, under its name, and the blocks that all parts share.

    A preset sets defaults; what is written wins, and changes nothing else. ``False`` or ``"off"`` switches a block off,
    ``True`` takes its defaults. ``config.term`` is the block of the part ``term``, False where that is off.

    Unknown keys, keys without an effect and impossible values raise an error that names the key: pydantic's
    ``ValidationError`` (a ``ValueError``) where it is constructed directly, and from ``from_mapping`` a
    ``ConfigurationError`` with the same facts in the words of a YAML user.
    """

    # Blocks of parts stand among the extra keys, in the order in which the parts are registered.
    model_config = ConfigDict(extra="allow")

    preset: str = Field(DEFAULT_PRESET, description="sets defaults of the blocks; what you write wins")
    safety_tokens: SafetyTokensSettings = Field(
        default_factory=SafetyTokensSettings, description="where the safety tokens come from"
    )
    reference: ReferenceSettings = Field(
        default_factory=ReferenceSettings, description="what answers for the aligned model"
    )
    drift_watch: DriftWatchSettings | Literal[False] = Field(
        False, description="look at the model's refusals every few steps"
    )
    receipts: Literal["exact", "present"] = Field(
        "exact", description="check the size of the gradient that reaches each part, or only that it arrives"
    )

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, data: Any, handler: ModelWrapValidatorHandler[PACTConfig]) -> PACTConfig:
        if not isinstance(data, Mapping):
            return handler(data)
        wrong = list(_unreadable(data))
        name = OFF if data.get("preset") is False else data.get("preset") or DEFAULT_PRESET
        presets = plugins.presets()
        if isinstance(name, str) and name not in presets:
            error = PydanticCustomError(
                "unknown",
                "unknown preset {name}; available: {known}",
                {"name": repr(name), "known": ", ".join(presets)},
            )
            wrong.append(InitErrorDetails(type=error, loc=("preset",), input=name))
        preset = presets[name].settings if isinstance(name, str) and name in presets else {}
        written = {key: value for key, value in data.items() if key in cls.blocks()}
        blocks = {**data, "preset": name, **over_preset(preset, written)}
        read: dict[str, Any] = {}
        for block, model in _switched().items():
            read[block] = _read_block(block, model, blocks.get(block, False), wrong)
        fixed = {key: blocks[key] for key in cls.model_fields if blocks.get(key) is not None}
        fixed = {key: value for key, value in fixed.items() if moved_to(key, value) is None}
        try:
            config = handler({**fixed, **read})
        except ValidationError as error:
            wrong += map(_again, error.errors())
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        config._check()
        # What a preset has set is not written.
        config.__pydantic_fields_set__.intersection_update(key for key, value in data.items() if value is not None)
        return config

    def _check(self) -> None:
        for key, value in self.model_dump().items():
            # Found out at the end of training, it would cost ``pact.json``.
            try:
                json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
            except (TypeError, ValueError, RecursionError) as error:
                raise ValueError(f"{key}: {shortly(value)} cannot be written as JSON: {error}") from None
        if self.is_off and self.preset != OFF:
            raise ValueError(f"nothing of preset: {self.preset} is left; to have nothing, write preset: {OFF}")

    @property
    def parts(self) -> dict[str, Block]:
        """The settings of every part of the loss that is on, by its name."""
        return {name: block for name, block in (self.model_extra or {}).items() if block is not False}

    @property
    def is_off(self) -> bool:
        """Whether nothing at all is to be added to the framework's own run, and nothing watched."""
        return not self.parts and not self.drift_watch

    def recipe(self) -> Recipe:
        """How safety tokens are calibrated."""
        from pact_plugins.safety_tokens.recipe import Recipe

        needs = [plugins.parts()[name].needs(settings) for name, settings in self.parts.items()]
        return Recipe(self.safety_tokens, self.reference.assistant_header, any(needed.weights for needed in needs))

    @classmethod
    def blocks(cls) -> dict[str, type[Block]]:
        """The model of every block, by its name: those of parts, then those that all parts share."""
        return {**{name: spec.settings for name, spec in plugins.parts().items()}, **cls.shared_blocks()}

    @classmethod
    def shared_blocks(cls) -> dict[str, type[Block]]:
        """Those that all parts share; no plugin is asked."""
        models = {name: _block_of(field.annotation) for name, field in cls.model_fields.items()}
        return {name: model for name, model in models.items() if model is not None}

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


def _unreadable(data: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
    """Keys that no block has; the old ones among them with their new place."""
    known = {*PACTConfig.model_fields, *plugins.parts()}
    for key, value in data.items():
        place = moved_to(str(key), value)
        if place is not None and (key not in known or key in PACTConfig.blocks()):
            moved = PydanticCustomError("moved", "is now {place}", {"place": place})
            yield InitErrorDetails(type=moved, loc=(str(key),), input=value)
        elif key not in known:
            yield InitErrorDetails(type="extra_forbidden", loc=(str(key),), input=value)


def _switched() -> dict[str, type[Block]]:
    """The blocks that can be off: every part's, and the drift watch's."""
    return {**{name: spec.settings for name, spec in plugins.parts().items()}, "drift_watch": DriftWatchSettings}


def _read_block(name: str, model: type[Block], block: Any, wrong: list[InitErrorDetails]) -> Block | Literal[False]:
    if block is False or moved_to(name, block) is not None:
        return False
    try:
        return model.model_validate(block)
    except ValidationError as error:
        wrong += (_again(detail, name) for detail in error.errors() if detail["type"] != "default_factory_not_called")
        return False


def _again(detail: Any, *inside: str) -> InitErrorDetails:
    """An error that has been raised already, inside of a block."""
    again = InitErrorDetails(type=detail["type"], loc=(*inside, *detail["loc"]), input=detail["input"])
    if "ctx" in detail:
        again["ctx"] = detail["ctx"]
    return again


def _block_of(annotation: Any) -> type[Block] | None:
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Block)), None)


def _model_at(location: Location) -> type[BaseModel]:
    model: type[BaseModel] = PACTConfig
    for step in location:
        blocks = PACTConfig.blocks() if model is PACTConfig else {}
        field = model.model_fields.get(str(step))
        found = blocks.get(str(step)) or (None if field is None else _block_of(field.annotation))
        if found is None:
            break
        model = found
    return model


def _known_keys(location: Location) -> list[str]:
    model = _model_at(location)
    parts = list(plugins.parts()) if model is PACTConfig else []
    return [*list(model.model_fields)[:1], *parts, *list(model.model_fields)[1:]]


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


def _in_words(detail: Any, location: Location) -> str:
    kind = str(detail["type"])
    if kind.startswith("model"):
        return f"{_KINDS['dict']} ({', '.join(_known_keys(location))})"
    known = next((words for start, words in _KINDS.items() if kind.startswith(start)), None)
    words = known or detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    switched = location[-1:] == ("weight",) and detail["input"] in (0, "0")
    return f"{words}; {location[0]}: {OFF} switches it off" if switched else words
