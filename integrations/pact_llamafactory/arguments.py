"""``stage: pact`` and the ``pact:`` block, taken out of the arguments that LLaMA-Factory is given.

LLaMA-Factory reads either a mapping (a YAML or JSON file, ``key=value`` overrides merged in) or a command line of
options (``--stage pact --pact.term.weight 1``). Both are understood here, so that nothing of ours reaches its parser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pact_plugins.cli.overrides import take_overrides
from pact_plugins.config import PACTConfig
from pact_plugins.errors import ConfigurationError

STAGE = "pact"
BLOCK = "pact"
UNDERLYING_STAGE = "sft"

Arguments = Mapping[str, Any] | Sequence[str]


@dataclass(frozen=True)
class StageArguments:
    """A ``stage: pact`` run, taken apart.

    Attributes:
        arguments: what LLaMA-Factory is to read: ``stage: sft``, and nothing of ours.
        block: the content of ``pact:``; None where there is none.
    """

    arguments: dict[str, Any] | list[str]
    block: Any

    def config(self) -> PACTConfig:
        """The block as a configuration.

        Raises:
            ConfigurationError: names every wrong key of it.
        """
        return PACTConfig.from_mapping(self.block, source=BLOCK)


def take_stage(arguments: Arguments) -> StageArguments | None:
    """Take ``stage: pact`` apart; None for every other stage. ``arguments`` stay as they are.

    Raises:
        ConfigurationError: there is a ``pact:`` block, but the stage is another one.
    """
    stage, blocks, rest = _from_mapping(arguments) if isinstance(arguments, Mapping) else _from_options(arguments)
    if stage == STAGE:
        return StageArguments(rest, blocks[0] if blocks else None)
    if blocks:
        shown = "not set, which means 'sft'" if stage is None else repr(stage)
        raise ConfigurationError(
            f"there is a '{BLOCK}' block, but the stage is {shown}: training would go on without PACT. "
            f"Set stage: {STAGE}, or remove the block"
        )
    return None


def is_on(arguments: Arguments, key: str) -> bool:
    """Whether the switch ``key`` of LLaMA-Factory is set and not false."""
    if isinstance(arguments, Mapping):
        return key in arguments and _is_true(arguments[key])
    for position, option in enumerate(arguments):
        name, separator, value = option.partition("=")
        if name == f"--{key}":
            following = arguments[position + 1 : position + 2]
            given = value if separator else (following[0] if following else "true")
            return given.startswith("--") or _is_true(given)
    return False


def _is_true(value: Any) -> bool:
    return str(value).lower() not in ("", "0", "false", "no", "n", "f", "none", "off")


def _from_mapping(arguments: Mapping[str, Any]) -> tuple[Any, list[Any], dict[str, Any]]:
    rest = {key: value for key, value in arguments.items() if key != BLOCK}
    blocks = [arguments[BLOCK]] if BLOCK in arguments else []
    stage = rest.get("stage")
    if stage == STAGE:
        rest["stage"] = UNDERLYING_STAGE
    return stage, blocks, rest


def _from_options(arguments: Sequence[str]) -> tuple[str | None, list[Any], list[str]]:
    block, remaining = take_overrides(arguments)
    stage: str | None = None
    rest: list[str] = []
    while remaining:
        option = remaining.pop(0)
        name, separator, value = option.partition("=")
        if name != "--stage":
            rest.append(option)
            continue
        if not separator:
            value = remaining.pop(0) if remaining and not remaining[0].startswith("--") else ""
        stage = value
        rest += [name, UNDERLYING_STAGE if value == STAGE else value]
    return stage, [] if block is None else [block], rest
