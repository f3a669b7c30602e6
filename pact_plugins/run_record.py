"""``pact.json``: what protected a run, left in its output folder.

A run has pieces: from each start to the next kill. Those so far, and what parts of the loss and reference want to know
again, stand in the trainer's own state: it writes that as the last file of a checkpoint, so that there is no moment at
which a checkpoint can be resumed from and lacks them. So ``pact.json`` speaks of the whole run, not of its last piece.
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
    from transformers import TrainerState

    from pact_plugins.config import PACTConfig
    from pact_plugins.safety_tokens import SafetyTokens

FILE_NAME = "pact.json"
SAFETY_TOKENS_FILE = "pact_safety_tokens.safetensors"
TRAINER_STATE_FILE = "trainer_state.json"
# Our entry among the stateful callbacks of the trainer's state, which it restores callbacks from by their class names.
STATE_KEY = "pact"
# What stands there where nothing has said it.
_NOT_ON = {"reference": None, "anchor": None, "gate_threshold": None, "gated_rows": None, "drift_watch": None}


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


def warn_of_half_written_checkpoint(output_dir: str | None) -> None:
    """Say so where a kill came while the newest checkpoint was written.

    Trainers resume from the one with the highest number, whole or not, and end in an error that names a file in it.
    """
    numbered = checkpoints_in(Path(output_dir or "."))
    if not numbered or _is_whole(numbered[-1]):
        return
    whole = [path for path in numbered if _is_whole(path)]
    way_out = f"resume from {whole[-1].name}" if whole else "begin again"
    announce(
        f"{numbered[-1]} is half-written (it has no whole {TRAINER_STATE_FILE}), and resuming from it would fail: "
        f"the run was killed while saving. Remove that folder, and {way_out}"
    )


def _write(file: Path, value: Any) -> None:
    """A full disk must not cost the run: its weights are still to be saved. ``pact verify`` will miss the file."""
    try:
        write_json(file, value)
    except OutputError as error:
        announce(f"{error}. Training goes on; without this file nobody can tell later that the run was protected")


def checkpoints_in(folder: Path) -> list[Path]:
    """A trainer's checkpoints there, by their steps."""
    found = [path for path in folder.glob("checkpoint-*") if path.is_dir() and path.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def _is_whole(checkpoint: Path) -> bool:
    """Whether the file that trainers write last is there, to its end."""
    try:
        return isinstance(parse_json((checkpoint / TRAINER_STATE_FILE).read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


def keep(state: TrainerState, pieces: Sequence[Piece], progress: Mapping[str, Any] | None = None) -> None:
    """Have the trainer's next checkpoint carry them.

    Args:
        progress: by name, what parts and reference want to know again (JSON); None leaves what is there.
    """
    entry = state.stateful_callbacks.setdefault(STATE_KEY, {})  # type: ignore[union-attr]
    entry["pieces"] = [asdict(piece) for piece in pieces]
    if progress is not None:
        entry["progress"] = dict(progress)


def kept_progress(state: TrainerState) -> Mapping[str, Any]:
    """What the checkpoint that training goes on from says of parts and reference; empty where it says nothing."""
    entry = (state.stateful_callbacks or {}).get(STATE_KEY)
    progress = entry.get("progress") if isinstance(entry, Mapping) else None
    return progress if isinstance(progress, Mapping) else {}


def kept_pieces(stateful_callbacks: Any) -> list[Piece]:
    """Of a trainer's state, or of its file; empty where it has none, or nobody can read them."""
    entry = stateful_callbacks.get(STATE_KEY) if isinstance(stateful_callbacks, Mapping) else None
    try:
        return pieces_from(entry.get("pieces") if isinstance(entry, Mapping) else None)
    except ValueError:
        return []


def earlier_pieces(state: TrainerState) -> list[Piece]:
    """Those of the checkpoint that training goes on from."""
    return [piece for piece in kept_pieces(state.stateful_callbacks) if piece.last_step <= state.global_step]


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
