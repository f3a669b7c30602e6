"""Refusal masses: what the reference would begin its reply to a request with, asked once and remembered.

A mass belongs to the aligned model and to what stands before the response; the response itself changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor
from tqdm.auto import tqdm

from pact_plugins.batch.host import Array
from pact_plugins.batch.micro_batch import MicroBatch
from pact_plugins.batch.openings import RefusalCriterion
from pact_plugins.batch.sequences import ContextRules, TokenSequence, response_contexts, response_spans
from pact_plugins.batch.training_data import TrainingData, training_data
from pact_plugins.contracts import Reference, ReferenceContext, ReferenceRequest
from pact_plugins.distributed import from_first_rank, gathered_text, summed
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import cache_folder, write_json
from pact_plugins.messages import announce, is_main_process
from pact_plugins.modeling import AutocastState, is_sharded
from pact_plugins.reference.cache.description import DESCRIPTION_FILE, MASSES, MASSES_FORMAT, hash_of_criterion
from pact_plugins.tensor_file import load_tensor_file, save_tensor_file

_KEY_BYTES = 16
_TENSORS = {"keys": torch.uint8, "masses": torch.float32}
# Tokens of new contexts that are held before they are asked about, and masses that are held before they are written.
_WINDOW_TOKENS = 2**20
_UNWRITTEN = 4096


class RefusalMasses:
    """The masses that a run needs, by the content of their contexts.

    Before training those of the training set are computed, for the contexts alone and in batches of similar length;
    what a stream brings is asked about when it is first seen. They are kept in the cache folder, so that no later run
    on the same aligned model, in the same precision, asks again. Every rank must make the same calls.

    Args:
        reference: who is asked.
        criterion: what counts as a refusal.
        context: what the reference was built from.

    Attributes:
        together: whether a pass takes all ranks, because parameters are sharded.
    """

    def __init__(self, reference: Reference, criterion: RefusalCriterion, context: ReferenceContext) -> None:
        self._reference, self._criterion = reference, criterion
        self._rules, self._turns = ContextRules.of(context.model_parts), context.turns
        self._dataloader = context.train_dataloader
        device = next(context.model_parts.decoder.parameters()).device
        precision = context.precision
        self._autocast = AutocastState(device.type, precision is not None, precision or torch.bfloat16)
        self._device = device
        self.together = any(map(is_sharded, context.model_parts.model.parameters()))
        self._description = _description(reference, criterion, context)
        self.folder = _folder(self._description, context)
        self._masses = self._read()
        self._unwritten: dict[bytes, float] = {}
        self._inseparable = 0

    def fill(self) -> bool:
        """Ask about what stands before the responses of the training set, as far as it can be read ahead.

        Whether that is all there will be to ask.
        """
        data, reason = training_data(self._dataloader, self._turns)
        if data is None:
            announce(f"refusals are looked up when a request is first seen: {reason}")
            return False
        self.fill_with(self._sequences_of(data))
        return not summed([float(self._inseparable)])[0]

    def refused_contexts(self, above: float) -> list[list[int]]:
        """The distinct requests of the training set with a larger mass, as they are put, in the order of the rows.

        Every rank must call it, after ``fill``.

        Raises:
            ConfigurationError: the training set cannot be read ahead.
        """
        data, reason = training_data(self._dataloader, self._turns)
        if data is None:
            raise ConfigurationError(f"the training set has to be read before the first step, but {reason}")
        own = []
        for row in data.rows(self._rules, data.share):
            for context in _contexts(row.sequences or ()):
                if self._masses[_key(context)] > above:
                    own.append((row.index, self._put(context.tolist())))
        merged: dict[tuple[int, ...], int] = {}
        for text in gathered_text(json.dumps(own)):
            for place, context in json.loads(text):
                merged[tuple(context)] = min(place, merged.get(tuple(context), place))
        return [list(context) for context in sorted(merged, key=lambda found: (merged[found], found))]

    def fill_with(self, sequences: Iterable[TokenSequence]) -> None:
        """Ask about what stands before the responses of ``sequences``, this rank's share."""
        known = len(self._masses)
        for window in _windows(self._missing(sequences)):
            self._ask(window)
        self._share_among_ranks()
        if new := len(self._masses) - known:
            announce(f"the reference was asked about {new} requests, once for all epochs and runs")
        self._write()

    def of(self, batch: MicroBatch) -> Tensor:
        """(number of responses,) float32 on the CPU."""
        contexts = response_contexts(batch.inputs, batch.responses, self._rules)
        if contexts is None:
            return self._of_inseparable(batch)
        keys = [_key(context) for context in contexts]
        missing = {key: context for key, context in zip(keys, contexts, strict=True) if key not in self._masses}
        if summed([float(len(missing))])[0] if self.together else missing:
            self._ask(missing)
            if len(self._unwritten) >= _UNWRITTEN:
                self._write()
        return torch.tensor([self._masses[key] for key in keys], dtype=torch.float32)

    def close(self) -> None:
        """Keep what was asked since ``fill``."""
        self._write()

    def _of_inseparable(self, batch: MicroBatch) -> Tensor:
        """Sequences that see one another are asked about as they stand."""
        request = ReferenceRequest(
            batch.inputs,
            batch.responses,
            torch.zeros(1, dtype=torch.int64, device=self._device),
            None,
            batch.autocast,
            None,
            self._criterion,
        )
        found = self._reference.logits(request).refusal_mass
        assert found is not None
        return found

    def _sequences_of(self, data: TrainingData) -> Iterator[TokenSequence]:
        indices = range(len(data)) if self.together else data.share
        description, quiet = "asking the reference about requests", not is_main_process()
        rows = data.rows(self._rules, indices)
        for row in tqdm(rows, total=len(indices), desc=description, disable=quiet, leave=False):
            self._inseparable += row.sequences is None
            yield from row.sequences or ()

    def _missing(self, sequences: Iterable[TokenSequence]) -> Iterator[tuple[bytes, list[int]]]:
        seen: set[bytes] = set()
        for context in _contexts(sequences):
            key = _key(context)
            if key not in self._masses and key not in seen:
                seen.add(key)
                yield key, context.tolist()

    def _ask(self, contexts: dict[bytes, list[int]]) -> None:
        put = [self._put(context) for context in contexts.values()]
        found = self._reference.refusal_mass(put, self._criterion, self._autocast)
        new = dict(zip(contexts, found.tolist(), strict=True))
        self._masses.update(new)
        self._unwritten.update(new)

    def _put(self, context: list[int]) -> list[int]:
        question = self._criterion.question
        return context if question is None else question(context)

    def _share_among_ranks(self) -> None:
        """Each rank has asked about its share of the rows, and may meet any of them in training."""
        said = gathered_text(json.dumps({key.hex(): mass for key, mass in self._unwritten.items()}))
        for text in said if len(said) > 1 else ():
            self._masses.update({bytes.fromhex(key): mass for key, mass in json.loads(text).items()})
        if len(said) > 1:
            merged = [item for text in said for item in json.loads(text).items()]
            self._unwritten = {bytes.fromhex(key): mass for key, mass in merged} if is_main_process() else {}

    def _read(self) -> dict[bytes, float]:
        """What earlier runs have left; every rank takes the first one's."""
        found: dict[bytes, float] = {}
        paths = sorted(self.folder.glob("*.safetensors")) if self.folder is not None else []
        for path in paths:
            # Files in the making begin with a dot.
            if not path.name.startswith("."):
                found.update(_of_file(path))
        keys = numpy.frombuffer(b"".join(found), dtype=numpy.uint8).copy()
        flat = from_first_rank(torch.from_numpy(keys)).numpy().tobytes()
        masses = from_first_rank(torch.tensor(list(found.values()), dtype=torch.float32)).tolist()
        return {flat[_KEY_BYTES * n : _KEY_BYTES * (n + 1)]: mass for n, mass in enumerate(masses)}

    def _write(self) -> None:
        if self._unwritten and self.folder is not None:
            keys = numpy.frombuffer(b"".join(self._unwritten), dtype=numpy.uint8).copy()
            tensors = {"keys": torch.from_numpy(keys), "masses": torch.tensor(list(self._unwritten.values()))}
            try:
                write_json(self.folder / DESCRIPTION_FILE, self._description)
                save_tensor_file(self.folder / f"{uuid.uuid4().hex}.safetensors", tensors, {"format": MASSES_FORMAT})
            except OSError as error:
                announce(f"refusal masses cannot be kept for later runs in {self.folder} ({error.strerror})")
                self.folder = None
        self._unwritten = {}


def _description(reference: Reference, criterion: RefusalCriterion, context: ReferenceContext) -> dict[str, Any]:
    """Everything that a mass depends on besides its context."""
    return {
        "format": MASSES_FORMAT,
        "reference_model": reference.fingerprint,
        "dtype": str(reference.weights_dtype).removeprefix("torch."),
        "autocast": None if context.precision is None else str(context.precision).removeprefix("torch."),
        "criterion": hash_of_criterion(criterion),
    }


def _folder(description: Mapping[str, Any], context: ReferenceContext) -> Path | None:
    """None where the model has no name."""
    if description["reference_model"] is None:
        return None
    name = hashlib.sha256(json.dumps(description).encode()).hexdigest()[:24]
    return cache_folder(context.settings.cache_path) / MASSES / name


def _of_file(path: Path) -> dict[bytes, float]:
    """A damaged file says nothing: what it held is asked again."""
    kind = f"a file of refusal masses of format {MASSES_FORMAT!r}"
    try:
        tensors, metadata = load_tensor_file(path, _TENSORS, {"format": str}, fail=ConfigurationError, what=kind)
    except ConfigurationError as error:
        announce(f"cached refusal masses are left aside: {error}")
        return {}
    keys, masses = tensors["keys"].numpy().tobytes(), tensors["masses"].tolist()
    if metadata["format"] != MASSES_FORMAT or len(keys) != _KEY_BYTES * len(masses):
        return {}
    return {keys[_KEY_BYTES * n : _KEY_BYTES * (n + 1)]: mass for n, mass in enumerate(masses)}


def _key(context: Sequence[int] | Array) -> bytes:
    return hashlib.blake2b(numpy.asarray(context, dtype=numpy.int32).tobytes(), digest_size=_KEY_BYTES).digest()


def _contexts(sequences: Iterable[TokenSequence]) -> Iterator[Array]:
    """What stands before each response."""
    for sequence in sequences:
        for begin, _ in response_spans(sequence.labels):
            yield sequence.input_ids[:begin]


def _windows(contexts: Iterable[tuple[bytes, list[int]]]) -> Iterator[dict[bytes, list[int]]]:
    """Some at a time, so that they fit in memory and can still be sorted by length."""
    window: dict[bytes, list[int]] = {}
    tokens = 0
    for key, context in contexts:
        window[key] = context
        tokens += len(context)
        if tokens >= _WINDOW_TOKENS:
            yield window
            window, tokens = {}, 0
    if window:
        yield window
