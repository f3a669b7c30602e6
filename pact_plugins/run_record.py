"""``pact.json``: what protected a run, left in its output folder.

A run has pieces: from each start to the next kill. Every checkpoint carries those so far, so that ``pact.json`` speaks
of the whole run and not of its last piece.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pact_plugins.compatibility import imported_versions
from pact_plugins.errors import OutputError
from pact_plugins.files import parse_json, write_json
from pact_plugins.messages import announce

if TYPE_CHECKING:
    from pact_plugins.config import PACTConfig
    from pact_plugins.safety_tokens import SafetyTokens

FILE_NAME = "pact.json"
PIECES_FILE_NAME = "pact_pieces.json"
SAFETY_TOKENS_FILE = "pact_safety_tokens.safetensors"
# What stands there where nothing has said it.
_NOT_ON = {"reference": None, "anchor": None, "gate_threshold": None, "gated_rows": None}


@dataclass(frozen=True)
class Piece:
    """Optimizer steps that were protected without an interruption.

    Attributes:
        first_step, last_step: counted from 1, both included.
        optimizer_steps: whose gradient was checked; fewer than the steps between where some were not.
        gradient_receipts: gradients that arrived.
        response_tokens: whose loss was added to.
        safety_tokens: their fingerprint; None where the objective needs none.
        reference: its name; None where no part asks one.
    """

    first_step: int
    last_step: int
    optimizer_steps: int
    gradient_receipts: int
    response_tokens: int
    safety_tokens: str | None
    reference: str | None


def checkpoint_folder(output_dir: str | None, step: int) -> Path:
    """Where the trainer keeps its checkpoint of that step."""
    return Path(output_dir or ".") / f"checkpoint-{step}"


def write_pieces(checkpoint: Path, pieces: Sequence[Piece]) -> None:
    """Leave them in a checkpoint that the trainer has written."""
    if checkpoint.is_dir():
        _write(checkpoint / PIECES_FILE_NAME, [asdict(piece) for piece in pieces])


def _write(file: Path, value: Any) -> None:
    """A full disk must not cost the run: its weights are still to be saved. ``pact verify`` will miss the file."""
    try:
        write_json(file, value)
    except OutputError as error:
        announce(f"{error}. Training goes on; without this file nobody can tell later that the run was protected")


def read_pieces(checkpoint: Path) -> list[Piece]:
    """Of a checkpoint; empty where it has none, or nobody can read them."""
    try:
        return pieces_from(parse_json((checkpoint / PIECES_FILE_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []


def pieces_from(values: Any) -> list[Piece]:
    """From JSON.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(values, list) or not all(isinstance(value, Mapping) for value in values):
        raise ValueError("no list of pieces")
    try:
        pieces = [Piece(**value) for value in values]
    except TypeError as error:
        raise ValueError(f"no list of pieces: {error}") from None
    for piece in pieces:
        counts = (piece.first_step, piece.last_step, piece.optimizer_steps, piece.gradient_receipts)
        texts = (piece.safety_tokens, piece.reference)
        if not all(type(count) is int and count >= 0 for count in (*counts, piece.response_tokens)):
            raise ValueError(f"no list of pieces: a number of {piece} is none")
        if not all(text is None or isinstance(text, str) for text in texts) or piece.first_step > piece.last_step:
            raise ValueError(f"no list of pieces: {piece} contradicts itself")
    return pieces


def spans_of(pieces: Sequence[Piece]) -> list[tuple[int, int]]:
    """First and last step of what they cover together, joined where they touch, in order."""
    spans: list[tuple[int, int]] = []
    for first, last in sorted((piece.first_step, piece.last_step) for piece in pieces):
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((first, last))
    return spans


def earlier_pieces(output_dir: str | None, step: int, resumed_from: Any) -> list[Piece]:
    """Those of the checkpoint that training goes on from at ``step``: the named folder, or the trainer's own."""
    if step == 0:
        return []
    folders = [Path(resumed_from)] if isinstance(resumed_from, str) and Path(resumed_from).is_dir() else []
    folders.append(checkpoint_folder(output_dir, step))
    found = next((pieces for folder in folders if (pieces := read_pieces(folder))), [])
    return [piece for piece in found if piece.last_step <= step]


def drift(log_history: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """By each ``pact/...`` metric of the trainer's log: its ``first``, ``highest`` and ``last`` value."""
    logged: dict[str, list[float]] = {}
    for entry in log_history:
        for key, value in entry.items():
            if key.startswith("pact/"):
                logged.setdefault(key, []).append(float(value))
    return {key: {"first": v[0], "highest": max(v), "last": v[-1]} for key, v in sorted(logged.items())}


def write_run_record(
    folder: Path,
    config: PACTConfig,
    tokens: SafetyTokens | None,
    log_history: Sequence[Mapping[str, Any]],
    recorded: Mapping[str, Any],
) -> Path:
    """Write ``pact.json`` into ``folder`` and return its path.

    Args:
        recorded: what the parts of the loss and the reference say of the run, its ``pieces`` and its ``reference``.
    """
    pieces: list[Piece] = recorded["pieces"]
    logged = [entry for entry in log_history if any(key.startswith("pact/") for key in entry)]
    record = {
        "pact_plugins": version("pact-plugins"),
        "versions": imported_versions(),
        "config": config.model_dump(mode="json"),
        "safety_tokens": None
        if tokens is None
        else {
            "fingerprint": tokens.fingerprint,
            "tokenizer_fingerprint": tokens.tokenizer_fingerprint,
            "count": len(tokens),
            "settings": dict(tokens.settings),
        },
        "optimizer_steps_protected": sum(piece.optimizer_steps for piece in pieces),
        "gradient_receipts": sum(piece.gradient_receipts for piece in pieces),
        "response_tokens": sum(piece.response_tokens for piece in pieces),
        "last_log": {key: value for key, value in logged[-1].items() if key.startswith("pact/")} if logged else {},
        "drift": drift(log_history),
        **_NOT_ON,
        **recorded,
        "pieces": [asdict(piece) for piece in pieces],
    }
    _write(folder / FILE_NAME, record)
    return folder / FILE_NAME
