"""Whether a run was protected throughout, read from what it left in its output folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pact_plugins.errors import PACTError
from pact_plugins.files import parse_json
from pact_plugins.run_record import (
    FILE_NAME,
    SAFETY_TOKENS_FILE,
    TRAINER_STATE_FILE,
    Piece,
    kept_pieces,
    pieces_from,
    spans_of,
)
from pact_plugins.safety_tokens import SafetyTokens


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        protected_steps: optimizer steps of which a piece says that they were protected.
        trained_steps: the highest step that any file in the folder speaks of.
        pieces: from each start to the next kill.
        problems: one sentence each; empty where the run was protected from its first step to its last.
    """

    protected_steps: int
    trained_steps: int
    pieces: Sequence[Piece]
    problems: list[str] = field(default_factory=list)

    @property
    def is_protected(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.problems


def verify(folder: Path) -> Verification:
    """Look at ``pact.json``, the checkpoints' pieces, the trainer's log and the safety tokens of one output folder."""
    problems: list[str] = []
    record = _json(folder / FILE_NAME, problems) if (folder / FILE_NAME).is_file() else None
    files = [*sorted(folder.glob(f"checkpoint-*/{TRAINER_STATE_FILE}")), *folder.glob(TRAINER_STATE_FILE)]
    states = [state for path in files if (state := _json(path, problems)) is not None]
    if record is not None:
        pieces = _recorded_pieces(record, problems)
    else:
        pieces = max((kept_pieces(state.get("stateful_callbacks")) for state in states), key=_last_step, default=[])
        problems.append(
            f"there is no {FILE_NAME}: "
            + ("the run has not come to its end" if pieces else "no run under PACT has ended in this folder")
        )
    trained = max([_global_step(state, problems) for state in states] + [_last_step(pieces)], default=0)
    problems += _gaps(pieces, trained)
    problems += _changes(pieces)
    if record is not None:
        problems += _foreign_tokens(folder, record)
        problems += _silent_steps(states, record)
    covered = sum(last - first + 1 for first, last in spans_of(pieces))
    return Verification(covered, trained, pieces, problems)


def _json(path: Path, problems: list[str]) -> dict[str, Any] | None:
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(f"{path} cannot be read: {next(iter(str(error).splitlines()), type(error).__name__)}")
        return None
    if not isinstance(value, dict):
        problems.append(f"{path} is no JSON object")
        return None
    return value


def _global_step(state: dict[str, Any], problems: list[str]) -> int:
    value = state.get("global_step", 0)
    if type(value) is not int or value < 0:
        problems.append(f"{TRAINER_STATE_FILE}: global_step is {value!r:.40}")
        return 0
    return value


def _recorded_pieces(record: dict[str, Any], problems: list[str]) -> list[Piece]:
    try:
        return pieces_from(record.get("pieces"))
    except ValueError as error:
        problems.append(f"{FILE_NAME}: pieces: {error}; it was written by an older version, or by hand")
        return []


def _last_step(pieces: Sequence[Piece]) -> int:
    return max((piece.last_step for piece in pieces), default=0)


def _gaps(pieces: Sequence[Piece], trained: int) -> list[str]:
    found, missing, next_step = [], [], 1
    for first, last in [*spans_of(pieces), (trained + 1, trained + 1)]:
        if first > next_step:
            missing.append(f"{next_step} to {first - 1}" if first - 1 > next_step else str(next_step))
        next_step = max(next_step, last + 1)
    if missing:
        found.append(f"steps {', '.join(missing)} of {trained} were trained without PACT, or nobody can tell")
    for piece in pieces:
        steps = piece.last_step - piece.first_step + 1
        if piece.optimizer_steps < steps or (piece.gradient_receipts == 0 and piece.response_tokens > 0):
            span = f"{piece.first_step} to {piece.last_step}"
            found.append(f"of steps {span} only {piece.optimizer_steps} had their gradient checked")
    return found


def _changes(pieces: Sequence[Piece]) -> list[str]:
    fingerprints = sorted({str(piece.safety_tokens) for piece in pieces})
    return [f"its pieces were held to different safety tokens ({', '.join(fingerprints)})"] if fingerprints[1:] else []


def _foreign_tokens(folder: Path, record: dict[str, Any]) -> list[str]:
    recorded, file = record.get("safety_tokens"), folder / SAFETY_TOKENS_FILE
    if not isinstance(recorded, dict) or not file.is_file():
        return []
    try:
        found, named = SafetyTokens.load(file).fingerprint, recorded.get("fingerprint")
    except PACTError as error:
        return [str(error)]
    return (
        [] if found == named else [f"{file.name} holds other safety tokens ({found}) than {FILE_NAME} names ({named})"]
    )


def _silent_steps(states: Sequence[dict[str, Any]], record: dict[str, Any]) -> list[str]:
    """Steps whose line of the trainer's log lacks the term."""
    last = record.get("last_log")
    if not isinstance(last, dict) or "pact/kl" not in last:
        return []
    logs = [state.get("log_history") for state in states]
    entries = [entry for log in logs if isinstance(log, list) for entry in log if isinstance(entry, dict)]
    silent = {entry.get("step") for entry in entries if "loss" in entry and "pact/kl" not in entry}
    return [f"the log of step {step} says nothing of the term" for step in sorted(silent, key=str)[:3]]
