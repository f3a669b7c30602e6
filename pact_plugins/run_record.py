"""``pact.json``: what protected a run, left in its output folder.

A run has segments: from each start to the next kill, or to its end. Each says by which settings it was held to what,
and the digests of the weights that it began and ended with, so that they form a chain from the aligned model to the
saved files. Segments so far, and what parts of the loss and reference want to know again, stand in the trainer's own
state: it writes that as the last file of a checkpoint, so that there is no moment at which a checkpoint can be resumed
from and lacks them. So ``pact.json`` speaks of the whole run, not of its last segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pact_plugins.compatibility import imported_versions
from pact_plugins.errors import DataError, OutputError
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
# Where things lie, whose content has a fingerprint of its own, and how many rows fit into memory at once.
_WITHOUT_EFFECT = {"reference.cache_path", "safety_tokens.batch_size", "reference.path", "safety_tokens.file"}
# What stands there where nothing has said it.
_NOT_ON: dict[str, Any] = {
    "reference": None,
    "parts": {},
    "drift_watch": None,
    "left_out": {},
}

_MOMENTS = ("first", "highest", "last")
# Of the record, what a reader relies on.
_TYPES: dict[str, Any] = {
    "pact_plugins": str,
    "versions": dict,
    "weights": str | None,
    "config": dict,
    "changed_settings": dict,
    "safety_tokens": dict | None,
    "reference": str | None,
    "left_out": dict,
    "drift": dict,
    "segments": list,
}


@dataclass(frozen=True)
class Segment:
    """Optimizer steps that were protected without an interruption.

    Attributes:
        training: number of the call of ``train()`` on this model, from 1; each counts its steps anew.
        first_step, last_step: counted from 1, both included.
        optimizer_steps: whose gradient was checked; fewer than the steps between where some were not.
        gradient_receipts: gradients that arrived.
        response_tokens: whose loss was added to.
        unchecked_moves: how often weights or gradients changed outside of a step that was checked.
        safety_tokens: their fingerprint; None where the objective needs none.
        reference: its name; None where no part asks one.
        aligned_weights: fingerprint of the aligned model's weights.
        started_from: digest of the weights that it began with; None where that was the aligned model itself.
        ended_with: digest of the weights after its last step; None before anything of it was saved.
        settings: that held, all of them.
    """

    training: int
    first_step: int
    last_step: int
    optimizer_steps: int
    gradient_receipts: int
    response_tokens: int
    unchecked_moves: int
    safety_tokens: str | None
    reference: str | None
    aligned_weights: str | None
    started_from: str | None
    ended_with: str | None
    settings: Mapping[str, Any]


_COUNTS = (
    *("training", "first_step", "last_step", "optimizer_steps", "gradient_receipts", "response_tokens"),
    "unchecked_moves",
)
_TEXTS = ("safety_tokens", "reference", "aligned_weights", "started_from", "ended_with")


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


def keep(state: TrainerState, segments: Sequence[Segment], progress: Mapping[str, Any] | None = None) -> None:
    """Have the trainer's next checkpoint carry them.

    Args:
        progress: by name, what parts and reference want to know again (JSON); None leaves what is there.
    """
    entry = state.stateful_callbacks.setdefault(STATE_KEY, {})  # type: ignore[union-attr]
    entry["segments"] = [asdict(segment) for segment in segments]
    if progress is not None:
        entry["progress"] = dict(progress)


def kept_progress(state: TrainerState) -> Mapping[str, Any]:
    """What the checkpoint that training goes on from says of parts and reference; empty where it says nothing."""
    entry = (state.stateful_callbacks or {}).get(STATE_KEY)
    progress = entry.get("progress") if isinstance(entry, Mapping) else None
    return progress if isinstance(progress, Mapping) else {}


def kept_segments(stateful_callbacks: Any) -> list[Segment]:
    """Of a trainer's state, or of its file; empty where it has none, or nobody can read them."""
    entry = stateful_callbacks.get(STATE_KEY) if isinstance(stateful_callbacks, Mapping) else None
    try:
        return segments_from(entry.get("segments") if isinstance(entry, Mapping) else None)
    except ValueError:
        return []


def earlier_segments(state: TrainerState) -> list[Segment]:
    """Those of the checkpoint that training goes on from."""
    segments = kept_segments(state.stateful_callbacks)
    latest = max((segment.training for segment in segments), default=1)
    return [one for one in segments if one.training < latest or one.last_step <= state.global_step]


def kept_aligned_weights(state: TrainerState) -> str | None:
    """Fingerprint of the aligned model that the run which training goes on with was held to first."""
    segments = earlier_segments(state) if state.global_step else []
    return segments[0].aligned_weights if segments else None


def segments_from(values: Any) -> list[Segment]:
    """From JSON.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(values, list) or not all(isinstance(value, Mapping) for value in values):
        raise ValueError("no list of segments")
    try:
        segments = [Segment(**value) for value in values]
    except TypeError as error:
        raise ValueError(f"no list of segments: {error}") from None
    for segment in segments:
        counts = [getattr(segment, name) for name in _COUNTS]
        if not all(type(count) is int and 0 <= count < 1 << 53 for count in counts):
            raise ValueError(f"no list of segments: a number of {segment!s:.300} is none")
        texts = [getattr(segment, name) for name in _TEXTS]
        is_consistent = segment.training >= 1 and 1 <= segment.first_step <= segment.last_step
        typed = all(text is None or isinstance(text, str) for text in texts) and isinstance(segment.settings, Mapping)
        if not typed or not is_consistent:
            raise ValueError(f"no list of segments: {segment!s:.300} contradicts itself")
    return segments


def spans_of(segments: Sequence[Segment]) -> list[tuple[int, int]]:
    """First and last step of what they cover together, joined where they touch, in order."""
    spans: list[tuple[int, int]] = []
    for first, last in sorted((segment.first_step, segment.last_step) for segment in segments):
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((first, last))
    return spans


def differing_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """One line for each setting that is another one and decides what training is held to, and how strongly."""
    old, new = _flat(before), _flat(after)
    return [
        f"{key}: {old.get(key)!r} became {new.get(key)!r}"
        for key in sorted({*old, *new})
        if key not in _WITHOUT_EFFECT and old.get(key) != new.get(key)
    ]


def changed_settings(config: PACTConfig) -> dict[str, Any]:
    """What was set otherwise than its preset has it, by dotted names; blocks that are on have their defaults."""
    from pact_plugins.config import PACTConfig

    settings = config.model_dump(mode="json")
    on = {key: True for key, value in settings.items() if isinstance(value, Mapping)}
    defaults = _flat(PACTConfig.from_mapping({"preset": config.preset, **on}).model_dump(mode="json"))
    return {key: value for key, value in _flat(settings).items() if value != defaults.get(key)}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return flat


def drift(log_history: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """By each ``pact/...`` metric of the trainer's log: its ``first``, ``highest`` and ``last`` value."""
    logged: dict[str, list[float]] = {}
    for entry in log_history:
        for key, value in entry.items():
            if key.startswith("pact/"):
                logged.setdefault(key, []).append(float(value))
    return {key: dict(zip(_MOMENTS, (v[0], max(v), v[-1]), strict=True)) for key, v in sorted(logged.items())}


def write_run_record(
    folder: Path,
    segments: Sequence[Segment],
    tokens: SafetyTokens | None,
    log_history: Sequence[Mapping[str, Any]],
    recorded: Mapping[str, Any],
) -> dict[str, Any]:
    """Write ``pact.json`` into ``folder`` and return what it holds.

    Args:
        segments: of the whole run, the last one's settings being those that are shown.
        recorded: what the parts of the loss and the reference say of the run, and its ``changed_settings``.
    """
    logged = [entry for entry in log_history if any(key.startswith("pact/") for key in entry)]
    record = {
        "pact_plugins": version("pact-plugins"),
        "versions": imported_versions(),
        "weights": segments[-1].ended_with if segments else None,
        "config": dict(segments[-1].settings) if segments else {},
        "changed_settings": {},
        "safety_tokens": None
        if tokens is None
        else {
            "fingerprint": tokens.fingerprint,
            "tokenizer_fingerprint": tokens.tokenizer_fingerprint,
            "count": len(tokens),
            "settings": dict(tokens.settings),
        },
        "optimizer_steps_protected": sum(segment.optimizer_steps for segment in segments),
        "gradient_receipts": sum(segment.gradient_receipts for segment in segments),
        "response_tokens": sum(segment.response_tokens for segment in segments),
        "last_log": {key: value for key, value in logged[-1].items() if key.startswith("pact/")} if logged else {},
        "drift": drift(log_history),
        **_NOT_ON,
        **recorded,
        "segments": [asdict(segment) for segment in segments],
    }
    _write(folder / FILE_NAME, record)
    return record


def read_run_record(folder: Path) -> dict[str, Any]:
    """What a run left in ``folder``.

    Raises:
        DataError: there is no ``pact.json``, or it cannot be read, or it is not what a run writes.
    """
    file = folder / FILE_NAME
    if not file.is_file():
        raise DataError(
            f"{folder} holds no {FILE_NAME}: no run under PACT has ended there; for a merged or exported model name "
            "the training's output folder (--run)"
        )
    try:
        record = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{file} cannot be read: {reason}") from error
    if not isinstance(record, dict):
        raise DataError(f"{file} holds no JSON object")
    for key, expected in _TYPES.items():
        if key not in record or not isinstance(record[key], expected):
            raise DataError(f"{file}: {key} is {record.get(key)!r:.60}; it was written by an older version, or by hand")
    tokens = record["safety_tokens"]
    if tokens is not None and (type(tokens.get("count")) is not int or not isinstance(tokens.get("fingerprint"), str)):
        raise DataError(f"{file}: safety_tokens is {tokens!r:.60}; it was written by an older version, or by hand")
    for name, values in record["drift"].items():
        if not isinstance(values, dict) or not all(type(values.get(at)) in (int, float) for at in _MOMENTS):
            raise DataError(f"{file}: drift: {name} is {values!r:.60}; it was written by hand")
    return record
