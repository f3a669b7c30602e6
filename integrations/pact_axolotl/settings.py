"""What an Axolotl configuration says about PACT, and what of Axolotl cannot go together with it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pact_plugins.config import PACTConfig
from pact_plugins.errors import ConfigurationError
from pact_plugins.reference.adapters import rewrites_base_weights
from pact_plugins.reference.online import FrozenCopyReference

BLOCK = "pact"
SHORT_NAME = "pact"
PLUGIN = "pact_axolotl.PACTPlugin"
# Keys of blocks that may hold a path and do not say so.
PATHS = ("file", "prompts")


def plugin_names(cfg: Mapping[str, Any]) -> list[str]:
    """``plugins:`` as a list, however it is written."""
    names = cfg.get("plugins") or []
    return [names] if isinstance(names, str) else [str(name) for name in names]


def is_ours(name: str) -> bool:
    """Whether an entry of ``plugins:`` is this plugin, by short or dotted name."""
    package, _, attribute = name.rpartition(".")
    return name.casefold() == SHORT_NAME or (package.partition(".")[0] == "pact_axolotl" and attribute == "PACTPlugin")


def check(cfg: Mapping[str, Any]) -> PACTConfig | None:
    """The settings of a configuration that asks for PACT, None for one that does not.

    Works on the YAML as it is written and on what Axolotl's validation made of it.

    Raises:
        ConfigurationError: a ``pact:`` block without the plugin, a misspelt key, the plugin listed twice, an option of
            Axolotl under which the term would be wrong or missing.
    """
    asked = _times_asked(cfg)
    refuse_unread_settings(cfg, asked=bool(asked))
    return check_block(cfg) if asked else None


def _times_asked(cfg: Mapping[str, Any]) -> int:
    asked = sum(is_ours(name) for name in plugin_names(cfg))
    if asked > 1:
        raise ConfigurationError(f"plugins: lists PACT {asked} times, which would add its term as often; keep one")
    return asked


def check_block(cfg: Mapping[str, Any]) -> PACTConfig:
    """The settings of a configuration that lists the plugin; imports nothing of Axolotl.

    Raises:
        ConfigurationError: a misspelt key of the block, the plugin listed twice, an option of Axolotl under which the
            term would be wrong or missing.
    """
    _times_asked(cfg)
    block = cfg.get(BLOCK)
    if block is False:
        raise ConfigurationError("pact: false has no meaning; take the plugin out, or set preset: off")
    config = PACTConfig.from_mapping(_plain(block), source=BLOCK)
    if not config.is_off:
        _refuse_unsupported(cfg)
        _refuse_wrong_reference(cfg, config)
    return config


def refuse_unread_settings(cfg: Mapping[str, Any], *, asked: bool) -> None:
    """Raise ConfigurationError for settings of PACT that nobody would read: Axolotl ignores keys it does not know."""
    if not asked:
        refuse_unlisted(cfg)
    for key in _unknown_keys(cfg):
        if key.casefold().startswith(BLOCK) or difflib.get_close_matches(key.casefold(), [BLOCK], cutoff=0.75):
            raise ConfigurationError(f"{key}: unknown key, which Axolotl would ignore; did you mean 'pact'?")


def refuse_unlisted(cfg: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for a block of PACT where the plugin is not listed; imports nothing of Axolotl."""
    if cfg.get(BLOCK) is not None:
        raise ConfigurationError(
            "pact: stands in the configuration, but the plugin does not, so the run would be unprotected; "
            f"add plugins: [{PLUGIN}], or take the block out"
        )


def _unknown_keys(cfg: Mapping[str, Any]) -> Iterable[str]:
    from axolotl.utils.schemas.config import AxolotlInputConfig

    return [key for key in map(str, cfg) if key != BLOCK and key not in AxolotlInputConfig.model_fields]


def _plain(block: Any) -> Any:
    """Axolotl's dictionaries answer None for a missing key; the schema wants plain ones."""
    return {key: _plain(value) for key, value in block.items()} if isinstance(block, Mapping) else block


def _more_than_one(value: Any) -> bool:
    return int(value or 1) > 1


_CHAT_ONLY = "PACT holds the responses of a chat model in supervised fine-tuning"
_SPLIT = "it splits sequences or layers over ranks, which PACT cannot follow yet"
_UNSUPPORTED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "rl": (bool, f"{_CHAT_ONLY}, not in preference or reinforcement training"),
    "reward_model": (bool, _CHAT_ONLY),
    "process_reward_model": (bool, _CHAT_ONLY),
    "pretraining_dataset": (bool, f"{_CHAT_ONLY}; plain text has none"),
    "kd_trainer": (bool, "distillation replaces the loss that the term would join"),
    "diffusion": (bool, "a diffusion model has no next-token confidence to hold"),
    "context_parallel_size": (_more_than_one, _SPLIT),
    "sequence_parallel_degree": (_more_than_one, _SPLIT),
    "tensor_parallel_size": (_more_than_one, _SPLIT),
}


def _refuse_unsupported(cfg: Mapping[str, Any]) -> None:
    for key, (applies, reason) in _UNSUPPORTED.items():
        if applies(cfg.get(key)):
            raise ConfigurationError(f"{key}: {cfg.get(key)} does not go with PACT: {reason}")


def _refuse_wrong_reference(cfg: Mapping[str, Any], config: PACTConfig) -> None:
    """The model with its adapter off has to be the aligned model, all the time."""
    if config.reference.path is not None or config.reference.kind == FrozenCopyReference.name:
        return
    for key, reason in _unfaithful_adapter(cfg):
        raise ConfigurationError(
            f"{key}: {reason}, so the model with its adapter off is not the aligned model; "
            "set pact.reference.path to the aligned model"
        )


def _unfaithful_adapter(cfg: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if not cfg.get("adapter"):
        return
    if cfg.get("lora_model_dir"):
        yield "lora_model_dir", "training continues an adapter that already holds weights"
    if cfg.get("relora"):
        yield "relora", "the adapter is merged into the base weights again and again"
    initialisation = cfg.get("peft_init_lora_weights")
    if rewrites_base_weights(initialisation):
        yield f"peft_init_lora_weights: {initialisation}", "this initialisation rewrites the base weights"
    peft = cfg.get("peft") or {}
    if ((peft.get("loftq_config") or {}).get("loftq_bits")) is not None:
        yield "peft.loftq_config", "LoftQ rewrites the base weights"
