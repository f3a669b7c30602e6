"""``pact.json``: what protected a run, left in its output folder."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pact_plugins.files import write_json

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig
    from pact_plugins.training.preparation import Preparation

FILE_NAME = "pact.json"


def write_run_record(
    folder: Path,
    config: PACTConfig,
    preparation: Preparation,
    log_history: list[dict[str, Any]],
    *,
    gated_rows: list[dict[str, Any]] | None = None,
) -> Path:
    """Write ``pact.json`` into ``folder`` and return its path.

    Args:
        gated_rows: of all ranks, where the gate was on.
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
        "reference": preparation.reference_name,
        "anchor": _anchor(preparation),
        "optimizer_steps_protected": ledger.optimizer_steps,
        "gradient_receipts": ledger.receipts,
        "response_tokens": ledger.response_tokens,
        "last_log": {key: value for key, value in logged[-1].items() if key.startswith("pact/")} if logged else {},
        "gated_rows": gated_rows,
    }
    write_json(folder / FILE_NAME, record)
    return folder / FILE_NAME


def _anchor(preparation: Preparation) -> dict[str, Any] | None:
    if preparation.anchor is None:
        return None
    anchors = preparation.anchor.anchors
    return {"fingerprint": anchors.fingerprint, "harmful": anchors.harmful, "harmless": anchors.harmless}
