"""``Block``: what every block of the configuration has in common. Imports no torch: the command line reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator


class Block(BaseModel):
    """Settings of one part: unknown keys and impossible values are errors, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _booleans_are_no_numbers(cls, data: Any) -> Any:
        # YAML reads ``yes`` and ``on`` as true, which would otherwise pass for 1.
        for key, value in data.items() if isinstance(data, Mapping) else ():
            field = cls.model_fields.get(str(key))
            if isinstance(value, bool) and field is not None and field.annotation in (int, float, float | None):
                raise ValueError(f"{key}: expected a number, found {value}; write the number itself")
        return data

    def files(self) -> dict[str, str | None]:
        """The files that must be there before anything starts, by the keys that name them."""
        return {key: value for key, value in self if key.endswith("_path")}

    def differs_from_default(self, key: str) -> bool:
        """Whether ``key`` has another value than where nobody writes it."""
        field = type(self).model_fields[key]
        default = field.get_default(call_default_factory=True, validated_data=self.__dict__)
        return bool(getattr(self, key) != default)


Settings = TypeVar("Settings", bound=Block)
"""The model of a part's block."""


def registered(key: str, value: str, known: Iterable[str]) -> str:
    """``value``, where it is among the ``known``.

    Raises:
        ValueError: it is not; the message lists them.
    """
    if value not in known:
        raise ValueError(f"unknown {key} {value!r}; available: {', '.join(known)}")
    return value


def merged(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping of several: later ones win, key by key, blocks within blocks."""
    result: dict[str, Any] = {}
    for one in settings:
        for key, value in one.items():
            before = result.get(key)
            both = isinstance(before, Mapping) and isinstance(value, Mapping)
            result[key] = merged(before, value) if both else value  # type: ignore[arg-type]
    return result
