"""Loading models: one line where one cannot be had, a second one beside one that an engine has sharded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pact_plugins.files import no_such_folder, why_no_model

_RAM_EFFICIENT = "FSDP_CPU_RAM_EFFICIENT_LOADING"


def why_not_loaded(name: str, error: Exception) -> str:
    """One line; a path that leads nowhere is called so, and a name that may be either is called both."""
    known = why_no_model(name)
    if known is not None:
        return known
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return reason if Path(name).expanduser().exists() else f"{no_such_folder(name)}; from the hub: {reason}"


@contextmanager
def whole_on_every_rank() -> Iterator[None]:
    """``from_pretrained`` gives every rank all the weights in here.

    Under FSDP transformers fills the first rank's model only and leaves the others' to accelerate; under ZeRO-3 it
    partitions the model and leaves gathering to an engine. Neither comes to a model that is not trained.
    """
    from transformers.integrations import deepspeed as integration

    held = integration._hf_deepspeed_config_weak_ref
    ram_efficient = os.environ.pop(_RAM_EFFICIENT, None)
    integration.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        configuration = None if held is None else held()
        if configuration is not None:
            integration.set_hf_deepspeed_config(configuration)
        if ram_efficient is not None:
            os.environ[_RAM_EFFICIENT] = ram_efficient
