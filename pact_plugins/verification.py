"""Whether the weights in a folder are those of a run that was protected throughout, read from what the run left.

Only JSON is parsed and files are hashed: nothing here needs torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from pact_plugins.errors import DataError
from pact_plugins.files import parse_json
from pact_plugins.run_record import (
    FILE_NAME,
    SAFETY_TOKENS_FILE,
    TRAINER_STATE_FILE,
    Segment,
    checkpoints_in,
    differing_settings,
    kept_segments,
    read_run_record,
    segments_from,
    spans_of,
)
from pact_plugins.weight_files import saved_weights, tensors_in


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        protected_steps: optimizer steps of which a segment says that they were protected.
        trained_steps: the highest step that any file in the folder speaks of, and those of earlier trainings.
        segments: from each start to the next kill, or to the end.
        weights: where those that the record speaks of were found; None where they were not.
        problems: one sentence each; empty where the run was protected from its first step to its last, and its weights
            are the ones in the folder.
    """

    protected_steps: int
    trained_steps: int
    segments: Sequence[Segment]
    weights: str | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def is_protected(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.problems


def verify(
    folder: Path, *, run: Path | None = None, weights: str | None = None, made: str | None = None
) -> Verification:
    """Compare a folder's weights with what ``pact.json``, the checkpoints and the trainer's log say of the run.

    Args:
        folder: with the weights.
        run: with ``pact.json``, where that is another folder.
        weights: digest of the weights in ``folder``, where the caller has just saved them.
        made: digest of what the caller knows to be made from the run's weights; the record of a merged model says so.
    """
    run = run or folder
    problems: list[str] = []
    record = _record(run, problems)
    files = [*sorted(run.glob(f"checkpoint-*/{TRAINER_STATE_FILE}")), *run.glob(TRAINER_STATE_FILE)]
    states = [state for path in files if (state := _json(path, problems)) is not None]
    if record is not None:
        segments = _recorded_segments(record, problems)
    else:
        segments = max((kept_segments(state.get("stateful_callbacks")) for state in states), key=_last_step, default=[])
    latest = max((segment.training for segment in segments), default=1)
    protected = trained = 0
    for training in range(1, latest + 1):
        own = [segment for segment in segments if segment.training == training]
        steps = max([_global_step(state, problems) for state in states if training == latest] + [_last_step(own)])
        problems += _gaps(own, steps)
        protected += sum(last - first + 1 for first, last in spans_of(own))
        trained += steps
    problems += [problem for segment in segments for problem in _unproven(segment)]
    problems += _broken_links(segments)
    place = None
    if record is not None:
        accepted = {segments[-1].ended_with if segments else None, made, record.get("made_from_them")}
        place = _place_of_weights(folder, accepted, weights, problems)
        problems += _foreign_tokens(run, record)
        problems += _silent_steps(states, record)
    return Verification(protected, trained, segments, place, list(dict.fromkeys(problems)))


def _record(run: Path, problems: list[str]) -> dict[str, Any] | None:
    if not (run / FILE_NAME).is_file():
        found = any(_json(path, []) is not None for path in run.glob(f"checkpoint-*/{TRAINER_STATE_FILE}"))
        what = "the run has not come to its end" if found else "no run under PACT has ended in this folder"
        problems.append(f"there is no {FILE_NAME}: {what}")
        return None
    try:
        return read_run_record(run)
    except DataError as error:
        problems.append(str(error))
        return None


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


def _recorded_segments(record: dict[str, Any], problems: list[str]) -> list[Segment]:
    try:
        segments = segments_from(record["segments"])
    except ValueError as error:
        problems.append(f"{FILE_NAME}: segments: {error}; it was written by an older version, or by hand")
        return []
    numbers = [segment.training for segment in segments]
    if numbers != sorted(numbers) or set(numbers) != set(range(1, max(numbers, default=0) + 1)):
        problems.append(f"{FILE_NAME}: segments: their trainings are {numbers!s:.60}; it was written by hand")
        return []
    return segments


def _last_step(segments: Sequence[Segment]) -> int:
    return max((segment.last_step for segment in segments), default=0)


def _gaps(segments: Sequence[Segment], trained: int) -> list[str]:
    missing, next_step = [], 1
    for first, last in [*spans_of(segments), (trained + 1, trained + 1)]:
        if first > next_step:
            missing.append(f"{next_step} to {first - 1}" if first - 1 > next_step else str(next_step))
        next_step = max(next_step, last + 1)
    if not missing:
        return []
    return [f"steps {', '.join(missing)} of {trained} were trained without PACT, or nobody can tell"]


def _steps(segment: Segment) -> str:
    return f"steps {segment.first_step} to {segment.last_step}"


def _unproven(segment: Segment) -> Iterator[str]:
    """What one segment lacks to be called protected."""
    if segment.optimizer_steps < segment.last_step - segment.first_step + 1:
        yield f"of {_steps(segment)} only {segment.optimizer_steps} had their gradient checked"
    if segment.gradient_receipts == 0 or segment.response_tokens == 0:
        yield f"nothing was added to the loss of {_steps(segment)}: there is no gradient that proves it"
    if segment.unchecked_moves:
        yield (
            f"in {_steps(segment)} weights or gradients changed {segment.unchecked_moves} times outside of a step that "
            "was checked: set by hand, by a second optimizer, or by an optimizer that computes a loss of its own"
        )


def _broken_links(segments: Sequence[Segment]) -> Iterator[str]:
    """Where the chain from the aligned model to the last segment's weights does not hold."""
    if segments and segments[0].started_from is not None:
        yield f"{_steps(segments[0])} began with weights that had moved already: nobody has seen from where"
    for before, after in pairwise(segments):
        if after.started_from is None or after.started_from != before.ended_with:
            yield (
                f"{_steps(after)} did not begin with the weights that {_steps(before)} ended with: something else "
                "trained or replaced them in between"
            )
        if changed := differing_settings(before.settings, after.settings):
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            yield f"{_steps(after)} had other settings than {_steps(before)}: {'; '.join(changed[:3])}{more}"
        if before.safety_tokens != after.safety_tokens:
            held = f"{before.safety_tokens}, {after.safety_tokens}"
            yield f"{_steps(after)} were held to other safety tokens than {_steps(before)} ({held})"
        if before.aligned_weights != after.aligned_weights:
            held = f"{before.aligned_weights}, {after.aligned_weights}"
            yield f"{_steps(after)} were held to other weights than {_steps(before)} ({held})"


def _place_of_weights(folder: Path, known: set[Any], weights: str | None, problems: list[str]) -> str | None:
    """Where the weights lie that the run ended with, or what was made from them; a problem where they do not."""
    accepted = {digest for digest in known if isinstance(digest, str)}
    expected = ", ".join(sorted(accepted))
    if not accepted:
        problems.append(f"{FILE_NAME} does not say which weights it speaks of")
        return None
    try:
        found = {folder: {weights}} if weights is not None else dict(_digests(folder))
    except DataError as error:
        problems.append(f"the weights cannot be compared with the run's: {error}")
        return None
    for place, digests in found.items():
        if digests <= accepted:
            return str(place)
    if found:
        others = ", ".join(sorted({digest for digests in found.values() for digest in digests} - accepted))
        problems.append(
            f"the weights in {folder} ({others}) are not those that the run ended with ({expected}): they were "
            "trained, merged or replaced without PACT"
        )
    else:
        problems.append(f"there are no weights in {folder} to compare with the run's ({expected})")
    return None


def _digests(folder: Path) -> Iterator[tuple[Path, set[str]]]:
    """Of the folder's weights; where it has none, of each of its checkpoints, the newest first.

    Raises:
        DataError: they are damaged, or pickled.
    """
    for place in (folder, *reversed(checkpoints_in(folder))):
        found = saved_weights(place)
        if found:
            yield place, {digest for digest in (found.adapter, found.model) if digest is not None}
            if place == folder:
                return
        elif found.pickled:
            raise DataError(
                f"those in {place} are pickled ({', '.join(found.pickled)}), which nobody should open to check them; "
                "save them as safetensors"
            )


def _foreign_tokens(run: Path, record: dict[str, Any]) -> list[str]:
    recorded, file = record["safety_tokens"], run / SAFETY_TOKENS_FILE
    if recorded is None or not file.is_file():
        return []
    try:
        found = _fingerprint_of_tokens(file)
    except (DataError, OSError) as error:
        return [str(error)]
    named = recorded["fingerprint"]
    if found == named:
        return []
    return [f"{file.name} holds other safety tokens ({found}) than {FILE_NAME} names ({named})"]


def _fingerprint_of_tokens(file: Path) -> str:
    """That of ``SafetyTokens``, read without torch."""
    places = {name: (first, last) for name, _, first, last in tensors_in(file)}
    if not {"token_ids", "direction"} <= places.keys():
        raise DataError(f"{file} is no safety-token file")
    content = file.read_bytes()
    held = b"".join(content[slice(*places[name])] for name in ("token_ids", "direction"))
    return hashlib.sha256(held).hexdigest()[:16]


def _silent_steps(states: Sequence[dict[str, Any]], record: dict[str, Any]) -> list[str]:
    """Steps whose line of the trainer's log lacks the term."""
    last = record.get("last_log")
    if not isinstance(last, dict) or "pact/kl" not in last:
        return []
    logs = [state.get("log_history") for state in states]
    entries = [entry for log in logs if isinstance(log, list) for entry in log if isinstance(entry, dict)]
    silent = {entry.get("step") for entry in entries if "loss" in entry and "pact/kl" not in entry}
    return [f"the log of step {step} says nothing of the term" for step in sorted(silent, key=str)[:3]]
