"""A full disk, a folder that may not be written, a lock that nobody holds: an error of ours, or the run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pact_evals.harness.evaluate import Sample
from pact_evals.judges import Verdict
from pact_evals.runs.verdicts import Journal, key_of
from pact_plugins.activation import line
from pact_plugins.anchor.anchors import AnchorSet
from pact_plugins.anchor.sampling import sampled_anchors
from pact_plugins.audit.outputs import Outputs
from pact_plugins.batch.teacher_forcing import TeacherForced
from pact_plugins.config import PACTConfig
from pact_plugins.conversation.reading import open_source
from pact_plugins.errors import OutputError, PACTError
from pact_plugins.files import write_json, write_text
from pact_plugins.modeling import model_parts_of, prompt_ids
from pact_plugins.reference.aligned import AlignedModel
from pact_plugins.reference.cache.store import ReferenceStore
from pact_plugins.run_record import FILE_NAME, write_run_record
from pact_plugins.safety_tokens import display
from pact_plugins.safety_tokens.automatic import automatic_safety_tokens
from tests.audit.test_report import report as audit_report
from tests.helpers.guarded import part_context
from tests.helpers.tiny import tiny_safety_tokens, tiny_tokenizer, write_refusals
from tests.helpers.trainers import lora, pact, python_path, rows, sft_trainer
from tests.reliability.counts import record
from tests.reliability.test_damaged_files import DESCRIPTION, entry

ANCHORS = AnchorSet(tuple(TeacherForced([5, 6], [7] * 4000) for _ in range(4)), {"harmful": 2, "harmless": 2})


def verdicts(folder: Path) -> None:
    """What a judge said of many rows."""
    rows = [Sample(f"{n}", "c", f"prompt {n}", "answer " * 20, {}) for n in range(500)]
    journal = Journal(folder / "run" / "samples_task_date.jsonl", {"name": "keyword"})
    journal.verdicts = {key_of(row): Verdict("refusal", reason="x" * 200) for row in rows}
    journal.finish(rows)


def filtered(folder: Path) -> None:
    """Half of a file of rows, written by the audit."""
    data = Path(os.environ["PACT_TEST_DATA"])
    source = open_source(str(data))
    Outputs(filtered=folder / "kept.jsonl", overwrite=True).write(audit_report(), source)


# Everything of ours that writes: into a folder, without a model.
WRITERS: dict[str, Callable[[Path], Any]] = {
    "text": lambda folder: write_text(folder / "file.txt", "x" * 100_000),
    "json": lambda folder: write_json(folder / "file.json", ["x" * 100_000]),
    "safety tokens": lambda folder: tiny_safety_tokens(count=300).save(folder / "tokens.safetensors"),
    "chart of safety tokens": lambda folder: display.save_chart(tiny_safety_tokens(), folder / "chart.png"),
    "anchors": lambda folder: ANCHORS.save(folder / "anchors.safetensors", tokenizer=tiny_tokenizer()),
    "cached logits": lambda folder: ReferenceStore(folder, DESCRIPTION).write([entry(n) for n in range(500)]),
    "verdicts": verdicts,
    "audit": lambda folder: Outputs(json=folder / "a.json", html=folder / "a.html").write(audit_report(), open_data()),
    "audit's copy": filtered,
    "start-up line": lambda folder: line.write({"module": "x" * 100_000}, folder),
}  # fmt: skip


# Importing what draws charts takes seconds.
SLOW = ("chart of safety tokens", "audit")
NAMES = [pytest.param(name, marks=pytest.mark.reliability if name in SLOW else ()) for name in WRITERS]


def open_data() -> Any:
    return open_source(os.environ["PACT_TEST_DATA"])


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """Five rows that an audit reads."""
    file = tmp_path / "data.jsonl"
    write_text(file, "".join(f'{{"prompt": "{"p" * 30_000}{n}", "response": "r"}}\n' for n in range(5)))
    monkeypatch.setenv("PACT_TEST_DATA", str(file))
    return file


def mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir()
    if subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount anything")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def full_disk(tmp_path) -> Iterator[Path]:
    """Room for a few small files, and no more."""
    for folder in mounted(tmp_path / "full", "-t", "tmpfs", "-o", "size=48k", "tmpfs"):
        (folder / "filler").write_bytes(b"x" * 40 * 1024)
        yield folder


@pytest.fixture
def read_only(tmp_path) -> Iterator[Path]:
    """A folder that not even root may write to."""
    original = tmp_path / "original"
    original.mkdir()
    (original / "kept").write_text("as it was")
    for folder in mounted(tmp_path / "read-only", "--bind", str(original)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield folder


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(write: Callable[[Path], Any], folder: Path) -> str:
    with pytest.raises(PACTError) as error:
        write(folder)
    return str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_named_and_leaves_nothing_half_written(name, full_disk, data):
    before = files_below(full_disk)
    message = refused(WRITERS[name], full_disk)
    assert "No space left" in message
    assert str(full_disk) in message
    left = {path: content for path, content in files_below(full_disk).items() if before.get(path) != content}
    # A store's own small files, and whole files written before the disk was full.
    assert not [path for path in left if Path(path).name.startswith(".") or path.endswith(".safetensors")], left


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_cannot_be_made_is_named(name, tmp_path, data):
    blocked = tmp_path / "file" / "below"
    (tmp_path / "file").write_text("a regular file")
    message = refused(WRITERS[name], blocked)
    assert str(tmp_path / "file") in message
    assert (tmp_path / "file").read_text() == "a regular file"


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_may_not_be_written_is_named(name, read_only, data):
    assert str(read_only) in refused(WRITERS[name], read_only)
    assert files_below(read_only) == {"kept": b"as it was"}


def test_the_error_is_an_operating_systems_too(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot be written: .*make room, or name a folder") as error:
        write_text(tmp_path / "file" / "below", "x")
    assert isinstance(error.value, OutputError)
    assert error.value.errno


def test_what_was_calibrated_is_used_where_it_cannot_be_kept(tmp_path, model, tokenizer, caplog):
    (tmp_path / "file").write_text("")
    refusals = write_refusals(tmp_path / "refusals.jsonl")
    config = PACTConfig(
        reference={"cache_path": str(tmp_path / "file")}, safety_tokens={"refusals_path": str(refusals), "top_k": 8}
    )
    aligned = AlignedModel(model_parts_of(model), config.reference, resumed=False)
    context = part_context(config.anchor, tokenizer, cache_path=config.reference.cache_path, aligned=aligned)
    contexts = [prompt_ids(tokenizer, text) for text in ("bad", "a garden")]
    with caplog.at_level("INFO", logger="pact_plugins"):
        tokens, _ = automatic_safety_tokens(
            model, tokenizer, config.recipe(), config.reference.cache_path, progress=False
        )
        anchors, _ = sampled_anchors(model, context, {"harmful": contexts[:1], "harmless": contexts[1:]})
    assert len(tokens) == 8
    assert len(anchors) == 2
    assert caplog.text.count("cannot be kept (Not a directory; set reference.cache_path") == 2


def test_a_record_without_room_does_not_end_the_run(full_disk, caplog):
    with caplog.at_level("INFO", logger="pact_plugins"):
        write_run_record(full_disk, [], None, [], {"parts": list(range(10_000))})
    assert "No space left" in caplog.text
    assert "nobody can tell later that the run was protected" in caplog.text
    assert sorted(files_below(full_disk)) == ["filler"]
    assert not (full_disk / FILE_NAME).exists()


def test_a_cache_that_may_not_be_written_is_read(tmp_path, caplog):
    store = ReferenceStore(tmp_path / "original", DESCRIPTION)
    store.write([entry(1)])
    for folder in mounted(tmp_path / "read-only", "--bind", str(tmp_path / "original")):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        with caplog.at_level("INFO", logger="pact_plugins"):
            found = ReferenceStore(folder, DESCRIPTION, spare=tmp_path / "spare")
        with found.building():
            found.write([entry(2)])
        found.refresh()
        assert None not in found.locate([entry(1).key, entry(2).key])
    assert "Read-only file system" in caplog.text
    assert len(ReferenceStore(tmp_path / "original", DESCRIPTION)) == 1


_BUILDER = """
import pathlib, sys
from tests.reliability.test_damaged_files import DESCRIPTION, ReferenceStore, entry
store = ReferenceStore(pathlib.Path(sys.argv[1]), DESCRIPTION)
with store.building():
    store.write([entry(1)])
    (store.folder / "unfinished.safetensors").write_bytes(b"half")
    print("inside", flush=True)
    sys.stdin.read()
"""


@pytest.mark.reliability
@pytest.mark.framework
def test_a_killed_builder_gives_its_lock_back_and_its_half_is_taken_away(tmp_path):
    command = [sys.executable, "-c", _BUILDER, str(tmp_path)]
    builder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=python_path(), text=True)
    assert builder.stdout is not None
    assert builder.stdout.readline() == "inside\n"
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    store = ReferenceStore(tmp_path, DESCRIPTION)
    assert (store.folder / "lock").exists()
    with store.building():
        assert len(store) == 1
        store.write([entry(2)])
    store.refresh()
    assert len(store) == 2
    assert not (store.folder / "unfinished.safetensors").exists()


@pytest.mark.reliability
@pytest.mark.framework
def test_a_whole_run_beside_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    """Calibration, anchors and cached logits all want to be kept, and are not."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PACT_CACHE_PATH", str(tmp_path / "file"))
    refusals = write_refusals(tmp_path / "refusals.jsonl")
    config = {
        "preset": "match",
        "safety_tokens": {"refusals_path": str(refusals), "top_k": 8},
        "anchor": {"prompts": "bundled", "replies": 4},
        "reference": {"kind": "cache"},
    }
    output = tmp_path / "run"
    trainer = sft_trainer(output, adapter=lora(), callbacks=[pact(config, safety_tokens=None)], train_rows=rows(8))
    trainer.train()
    kept = {path.name for path in output.iterdir()}
    assert {"pact.json", "pact_safety_tokens.safetensors", "pact_anchors.safetensors"} <= kept
    record("file system", writers=len(WRITERS), conditions=3 * len(WRITERS))


def test_every_writer_is_in_the_table():
    """What opens a file for writing goes through one function, or is named here."""
    root = Path(__file__).resolve().parents[2]
    own = {
        "pact_plugins/files.py",
        # Below a temporary file or folder that takes its place as a whole, or that is thrown away.
        "integrations/pact_trl/training.py",
        "pact_plugins/new_plugin/writing.py",
        "lab/pact_lab/tiny_world/model.py",
        "lab/pact_lab/tiny_world/tokenizer.py",
        "lab/pact_lab/tiny_world/builder.py",
    }
    found = set()
    for package in ("pact_plugins", "integrations", "evals", "lab"):
        for file in (root / package).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            if any(mark in text for mark in (".write_text(", ".write_bytes(", 'open("w', "'w'")):
                found.add(str(file.relative_to(root)))
    assert found == own
