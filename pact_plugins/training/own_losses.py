"""Losses that a trainer makes from the logits itself: there is no per-response handle for the row gate in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pact_plugins.errors import ConfigurationError

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig

_SETTINGS = (
    "label_smoothing_factor",
    "use_dft_loss",
    "use_eaft_loss",
    "use_asft_loss",
    "use_eaft",
    "compute_loss_func",
)


def refuse_own_loss(trainer: Any, config: PACTConfig) -> None:
    """Raise ConfigurationError that names the setting which makes ``trainer`` compute a loss of its own."""
    places = [trainer.args, getattr(trainer, "finetuning_args", None), getattr(trainer, "axolotl_cfg", None), trainer]
    named = next((name for name in _SETTINGS for place in places if getattr(place, name, None)), None)
    raise ConfigurationError(
        f"gate_training_rows: {config.gate_training_rows} weighs the framework's own cross-entropy, but "
        f"{named or 'this trainer'} computes a loss of its own, from which no single response can be taken out. "
        "Use the framework's plain loss, or take the rows out of the data: `pact audit MODEL DATA --filtered FILE`, "
        "with gate_training_rows: report or off"
    )
