"""A damaged file is refused in our own words or says what it said before; it is never taken for truth."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pact_evals.checking import check
from pact_evals.judges import get_judge
from pact_evals.report.training_log import read_curves
from pact_evals.rule import Margins
from pact_evals.runs.judging import rejudge
from pact_evals.runs.store import load_run
from pact_plugins import SafetyTokens
from pact_plugins.anchor.anchors import AnchorSet
from pact_plugins.batch.teacher_forcing import TeacherForced
from pact_plugins.conversation.reading import open_source
from pact_plugins.conversation.reading.conversations import BrokenRow
from pact_plugins.errors import PACTError
from pact_plugins.files import parse_json, read_rows
from pact_plugins.model_card.writing import write_card
from pact_plugins.reference.cache.description import StoreDescription
from pact_plugins.reference.cache.entries import Entry
from pact_plugins.reference.cache.listing import list_stores
from pact_plugins.reference.cache.store import ReferenceStore
from pact_plugins.run_record import FILE_NAME, STATE_KEY, TRAINER_STATE_FILE, Segment, kept_segments
from pact_plugins.verification import verify
from pact_plugins.weight_files import ADAPTER_FILE, saved_weights
from tests.helpers.evaluated import model, write
from tests.helpers.tiny import tiny_safety_tokens
from tests.reliability.counts import record
from tests.reliability.damage import BYTES, SAFETENSORS, Damage, without_checksum

FEW, MANY = 60, 2000
LONGEST = 20.0  # seconds for one file on a busy machine; a hang is longer

# Reads what is at the path, and gives it back in a form that can be compared; raises PACTError where it refuses.
Reader = Callable[[Path], Any]


def outcome(read: Reader, path: Path, expected: Any) -> str:
    began = time.perf_counter()
    try:
        found = read(path)
    except PACTError as error:
        result = "refused" if len(str(error)) < 2000 else str(error)[:200]
    else:
        assert found == expected, "corruption was taken for truth"
        result = "harmless"
    assert result in ("refused", "harmless")
    assert time.perf_counter() - began < LONGEST
    return result


def search(path: Path, read: Reader, damages: Sequence[Damage], count: int, *, seed: int = 0) -> Counter[str]:
    content, expected, seen = path.read_bytes(), read(path), Counter[str]()
    for number in range(count):
        rng = random.Random(f"{path.name} {seed} {number}")
        damage = rng.choice(damages)
        changed = damage(content, rng)
        path.write_bytes(changed)
        try:
            seen[outcome(read, path, expected)] += 1
        except BaseException as error:
            error.add_note(f"{damage.__name__}, file {number} of seed {seed}")
            raise
        seen["tried"] += 1
    path.write_bytes(content)
    assert read(path) == expected
    return seen


def said_by_tokens(path: Path) -> Any:
    tokens = SafetyTokens.load(path)
    tensors = (tokens.token_ids, tokens.direction, tokens.aligned_probability, tokens.contrast_probability)
    said = [tensor.numpy().tobytes() for tensor in tensors]
    return said, tokens.token_strings, tokens.tokenizer_fingerprint, tokens.vocabulary_size, dict(tokens.settings)


def tokens_file(folder: Path) -> Path:
    settings = {"refusal_opening_tokens": [7, 3], "refusal_openings": [[7], [3, 4]], "refusal_threshold": 0.75}
    return replace(tiny_safety_tokens(), settings=settings).save(folder / "tokens.safetensors")


def said_by_anchors(path: Path) -> Any:
    anchors = AnchorSet.load(path)
    return anchors.kinds, [(list(one.context_ids), list(one.response_ids)) for one in anchors.sequences]


def anchors_file(folder: Path) -> Path:
    rows = [TeacherForced(list(range(5, 7 + n)), list(range(20, 22 + n))) for n in range(6)]
    return AnchorSet(tuple(rows), {"harmful": 3, "harmless": len(rows) - 3}).save(folder / "anchors.safetensors")


FILES: dict[str, tuple[Callable[[Path], Path], Reader]] = {
    "safety tokens": (tokens_file, said_by_tokens),
    "anchors": (anchors_file, said_by_anchors),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_few_artifacts(tmp_path, kind):
    make, read = FILES[kind]
    assert search(make(tmp_path), read, SAFETENSORS, FEW)["refused"] > FEW // 2


@pytest.mark.reliability
@pytest.mark.parametrize("kind", FILES)
def test_many_artifacts(tmp_path, kind):
    make, read = FILES[kind]
    record(f"damaged files: {kind}", **search(make(tmp_path), read, SAFETENSORS, MANY))


def sound(tokens: SafetyTokens) -> None:
    """What must hold of every file that is let in, checksum or not."""
    ids = tokens.token_ids.tolist()
    assert ids == sorted(set(ids))
    assert ids[0] >= 0
    assert ids[-1] < tokens.vocabulary_size
    assert len(ids) == len(tokens.token_strings) == len(tokens.direction)
    assert bool(tokens.direction.isfinite().all())
    for name in (
        "refusal_opening_tokens",
        "refusal_openings",
        "compliance_opening_tokens",
        "refusal_threshold",
        "weights",
    ):
        with suppress(PACTError):
            getattr(tokens, name)


def search_old(path: Path, count: int) -> Counter[str]:
    content, seen = without_checksum(path.read_bytes()), Counter[str]()
    path.write_bytes(content)
    sound(SafetyTokens.load(path))
    for number in range(count):
        rng = random.Random(f"old {number}")
        damage = rng.choice(SAFETENSORS)
        path.write_bytes(damage(content, rng))
        try:
            sound(SafetyTokens.load(path))
            seen["sound"] += 1
        except PACTError:
            seen["refused"] += 1
        seen["tried"] += 1
    return seen


def test_a_few_files_from_before_the_checksum(tmp_path):
    assert search_old(tokens_file(tmp_path), FEW)["refused"]


@pytest.mark.reliability
def test_many_files_from_before_the_checksum(tmp_path):
    record("damaged files: safety tokens without a checksum", **search_old(tokens_file(tmp_path), MANY))


DESCRIPTION = StoreDescription("model", "float32", None, "tokens", token_count=5, header="h")


def entry(number: int) -> Entry:
    generator = torch.Generator().manual_seed(number)
    full, prompt_free = torch.randn(2, 3, 5, generator=generator)
    return Entry(number.to_bytes(16, "little"), full, prompt_free)


def store_file(folder: Path) -> Path:
    store = ReferenceStore(folder, DESCRIPTION)
    store.write([entry(number) for number in range(6)])
    (path,) = store.folder.glob("*.safetensors")
    return path


def said_by_store(store: ReferenceStore) -> list[Any]:
    """The values of each sequence that the store says it has, None where it has none."""
    places = store.locate([entry(number).key for number in range(6)])
    values = [None if place is None else store.read([place]) for place in places]
    return [None if one is None else [part.tolist() for part in one if part is not None] for one in values]


def search_store(folder: Path, count: int, *, of_index: bool) -> Counter[str]:
    path = store_file(folder)
    index = path.with_suffix(".json")
    expected = said_by_store(ReferenceStore(folder, DESCRIPTION))
    both = {path: path.read_bytes(), index: index.read_bytes()}
    seen = Counter[str]()
    for number in range(count):
        rng = random.Random(f"store {of_index} {number}")
        for file, content in both.items():
            file.write_bytes(content)
        damaged, damages = (index, BYTES) if of_index else (path, SAFETENSORS)
        damaged.write_bytes(rng.choice(damages)(both[damaged], rng))
        found = said_by_store(ReferenceStore(folder, DESCRIPTION))
        assert all(one is None or one == right for one, right in zip(found, expected, strict=True))
        list_stores(folder)
        seen["refused" if None in found else "harmless"] += 1
        seen["tried"] += 1
    return seen


def test_a_few_shards(tmp_path):
    assert search_store(tmp_path / "shard", FEW, of_index=False)["refused"]
    assert search_store(tmp_path / "index", FEW, of_index=True)["refused"]


@pytest.mark.reliability
def test_many_shards(tmp_path):
    seen = search_store(tmp_path / "shard", MANY, of_index=False)
    record("damaged files: cached logits", **(seen + search_store(tmp_path / "index", MANY // 2, of_index=True)))


def search_entries(folder: Path, count: int) -> Counter[str]:
    """A bit changes in a file that a run has open."""
    path, seen = store_file(folder), Counter[str]()
    store = ReferenceStore(folder, DESCRIPTION)
    expected = said_by_store(store)
    for number in range(count):
        rng = random.Random(f"entry {number}")
        content = path.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        with path.open("r+b") as file:
            place = rng.randrange(start, len(content))
            file.seek(place)
            file.write(bytes([content[place] ^ 1 << rng.randrange(8)]))
        try:
            found = said_by_store(store)
            assert all(one is None or one == right for one, right in zip(found, expected, strict=True))
            seen["harmless"] += 1
        except PACTError:
            seen["refused"] += 1
        seen["tried"] += 1
        with path.open("r+b") as file:
            file.write(content)
    return seen


def test_a_few_entries_in_use(tmp_path):
    assert search_entries(tmp_path, FEW)["refused"]


@pytest.mark.reliability
def test_many_entries_in_use(tmp_path):
    record("damaged files: cached logits in use", **search_entries(tmp_path, MANY))


def test_a_shard_of_another_store_is_whole_and_not_taken(tmp_path):
    other = replace(DESCRIPTION, reference_model="another")
    path = store_file(tmp_path)
    store = ReferenceStore(tmp_path, other)
    for file in (path, path.with_suffix(".json")):
        (store.folder / file.name).write_bytes(file.read_bytes())
    store.refresh()
    assert len(store) == 0


def run_folder(folder: Path) -> Path:
    """What a run of ten steps left."""
    checkpoint = folder / "checkpoint-10"
    checkpoint.mkdir(parents=True)
    save_file({"lora_A.weight": torch.ones(2, 3)}, folder / ADAPTER_FILE)
    weights = saved_weights(folder).adapter
    counts = {"training": 1, "first_step": 1, "last_step": 10, "optimizer_steps": 10, "gradient_receipts": 20}
    texts = {"safety_tokens": "0123456789abcdef", "reference": "adapter_off", "aligned_weights": "0" * 16}
    ends = {"started_from": None, "ended_with": weights, "settings": {"preset": "match", "nested": {"weight": 2.0}}}
    segment = Segment(**counts, **texts, **ends, response_tokens=300, unchecked_moves=0)
    values = [asdict(segment)]
    log = [{"loss": 1.0, "pact/kl": 0.1, "step": step} for step in range(1, 11)]
    state = {"global_step": 10, "log_history": log, "stateful_callbacks": {STATE_KEY: {"segments": values}}}
    (checkpoint / TRAINER_STATE_FILE).write_text(json.dumps(state))
    tokens = {"fingerprint": "0123456789abcdef", "count": 12}
    facts = {"safety_tokens": tokens, "last_log": {"pact/kl": 0.1}, "reference": "adapter_off", "weights": weights}
    drift = {"pact/kl": {"first": 0.0, "highest": 0.2, "last": 0.1}}
    shown = {
        "pact_plugins": "1.0",
        "versions": {"trl": "1.16.0"},
        "config": {"preset": "match"},
        "changed_settings": {"x.y": 1},
        "left_out": {"anchor": "why"},
        "drift": drift,
    }
    (folder / FILE_NAME).write_text(json.dumps({**facts, **shown, "segments": values}))
    return folder


def search_record(folder: Path, count: int, name: str) -> Counter[str]:
    path, seen = run_folder(folder) / name, Counter[str]()
    content = path.read_bytes()
    assert verify(folder).is_protected
    for number in range(count):
        rng = random.Random(f"record {name} {number}")
        damage = rng.choice((*BYTES, odd_json))
        path.write_bytes(damage(content, rng))
        found = verify(folder)
        with suppress(ValueError):
            state = parse_json((folder / "checkpoint-10" / TRAINER_STATE_FILE).read_text(errors="replace"))
            callbacks = state.get("stateful_callbacks") if isinstance(state, dict) else None
            assert all(isinstance(segment, Segment) for segment in kept_segments(callbacks))
        with suppress(PACTError):
            write_card(folder)
        # A record of fewer steps, or of none, may never count as that of a protected run of ten.
        assert not found.is_protected or found.protected_steps == found.trained_steps == 10
        seen["harmless" if found.is_protected else "refused"] += 1
        seen["tried"] += 1
    path.write_bytes(content)
    return seen


def odd_json(content: bytes, rng: random.Random) -> bytes:
    """One value somewhere is of another kind."""
    value = json.loads(content)
    place = value
    while True:
        key = rng.choice(list(place) if isinstance(place, dict) else list(range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.3:
            break
        place = place[key]
    odd = (None, "x", -1, 2**70, 1.5, float("nan"), [], {}, [[]], True, "\u202e")
    place[key] = rng.choice(odd)
    return json.dumps(value).encode()


def evaluation_folder(folder: Path) -> Path:
    """What ``pact eval`` and ``pact judge`` left of two models."""
    write(folder, *(model(label, [answer] * 6, ["compliance"] * 6) for label, answer in ANSWERS.items()))
    rejudge(folder, get_judge("keyword"))
    return folder


ANSWERS = {"aligned": "refusal", "tuned": "compliance"}
EVALUATED = ("results_*.json", "samples_pact_refusal_*.jsonl", "verdicts_pact_refusal_*.jsonl")


def search_evaluation(folder: Path, count: int, name: str) -> Counter[str]:
    (path,), seen = (evaluation_folder(folder) / "tuned").glob(name), Counter[str]()
    content = path.read_bytes()
    for number in range(count):
        rng = random.Random(f"evaluation {name} {number}")
        damage = rng.choice(BYTES if name.endswith("l") else (*BYTES, odd_json))
        path.write_bytes(damage(content, rng))
        try:
            told = check([folder], Margins()).reasons
            seen["refused" if any(path.parent.name in reason for reason in told) else "sound"] += 1
        except PACTError:
            seen["refused"] += 1
        seen["tried"] += 1
    path.write_bytes(content)
    return seen


def test_a_few_evaluations(tmp_path):
    assert all(search_evaluation(tmp_path / str(n), FEW // 2, name)["refused"] for n, name in enumerate(EVALUATED))


@pytest.mark.reliability
def test_many_evaluations(tmp_path):
    seen = [search_evaluation(tmp_path / str(n), MANY // 4, name) for n, name in enumerate(EVALUATED)]
    record("damaged files: evaluations", **sum(seen, Counter[str]()))


@pytest.mark.parametrize("task", ["../../elsewhere", "/elsewhere", "a\0b"])
def test_no_task_leads_out_of_a_run(tmp_path, task):
    folder = evaluation_folder(tmp_path / "run")
    (file,) = (folder / "tuned").glob("results_*.json")
    file.write_text(file.read_text().replace('"pact_refusal"', json.dumps(task)))
    with pytest.raises(PACTError, match=r"is damaged|is not beside|cannot be read"):
        load_run(folder)


ENDLESS = ("[" * 100_000, '{"a":' * 100_000, "9" * 5000, '[{"prompt": ' + "1" * 5000 + "}]")


@pytest.mark.parametrize("text", ENDLESS, ids=["lists", "objects", "digits", "row"])
@pytest.mark.parametrize("name", ["file.json", "file.jsonl"])
def test_json_without_an_end_is_refused_in_words(tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(PACTError, match=re.escape(str(file))):
        read_rows(file, key="refusals_path")
    with suppress(PACTError):
        assert isinstance(open_source(str(file)).rows[0], BrokenRow)
    with pytest.raises(PACTError, match="is not a training log"):
        read_curves(file)


RECORDS = (FILE_NAME, f"checkpoint-10/{TRAINER_STATE_FILE}")


def test_a_few_records(tmp_path):
    assert all(search_record(tmp_path / str(place), FEW, name)["tried"] for place, name in enumerate(RECORDS))


@pytest.mark.reliability
def test_many_records(tmp_path):
    seen = [search_record(tmp_path / str(place), MANY // 2, name) for place, name in enumerate(RECORDS)]
    record("damaged files: records of runs", **sum(seen, Counter[str]()))
