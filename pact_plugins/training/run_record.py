"""``pact.json``: what protected a run, left in its output folder."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pact_plugins.files import write_json

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig
    from pact_plugins.training.preparation import Preparation

FILE_NAME = "pact.json"
# What stands there where nothing has said it.
_NOT_ON = {"anchor": None, "gate_threshold": None, "gated_rows": None}


def write_run_record(
    folder: Path,
    config: PACTConfig,
    preparation: Preparation,
    log_history: list[dict[str, Any]],
    recorded: Mapping[str, Any],
) -> Path:
    """Write ``pact.json`` into ``folder`` and return its path.

    Args:
        recorded: what the parts of the loss and the reference say of the run.
    """
    ledger, tokens = preparation.attachment.receipts, preparation.safety_tokens
    logged = [entry for entry in log_history if any(key.startswith("pact/") for key in entry)]
    record = {
        "pact_plugins": version("pact-plugins"),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "accelerate")},
        "config": config.model_dump(mode="json"),
        "safety_tokens": None
        if tokens is None
        else {
            "fingerprint": tokens.fingerprint,
            "tokenizer_fingerprint": tokens.tokenizer_fingerprint,
            "count": len(tokens),
            "settings": dict(tokens.settings),
        },
        "reference": None if preparation.reference is None else preparation.reference.name,
        "optimizer_steps_protected": ledger.optimizer_steps,
        "gradient_receipts": ledger.receipts,
        "response_tokens": ledger.response_tokens,
        "last_log": {key: value for key, value in logged[-1].items() if key.startswith("pact/")} if logged else {},
        **_NOT_ON,
        **recorded,
    }
    write_json(folder / FILE_NAME, record)
    return folder / FILE_NAME
