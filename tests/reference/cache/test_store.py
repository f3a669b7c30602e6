"""The store's files: whole or not there, shared by processes that do not know of each other."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from pact_plugins.reference.cache.description import StoreDescription
from pact_plugins.reference.cache.entries import Entry
from pact_plugins.reference.cache.listing import list_stores, remove_store
from pact_plugins.reference.cache.store import ReferenceStore
from tests.helpers.trainers import python_path

PLAIN = StoreDescription("model", "float32", None, "tokens", token_count=5, header=None)
ALL = replace(PLAIN, header="header")


def entry(number, tokens=3, described=PLAIN):
    generator = torch.Generator().manual_seed(number)
    return Entry(
        number.to_bytes(16, "little"),  # keys that end in zeros
        torch.randn(tokens, 5, generator=generator),
        None if described.header is None else torch.randn(tokens, 5, generator=generator),
    )


def close(found, expected):
    return (found is None) == (expected is None) and (found is None or torch.allclose(found, expected, atol=1e-3))


@pytest.mark.parametrize("described", [PLAIN, ALL], ids=["full context", "everything"])
def test_what_was_written_is_read_in_any_order(tmp_path, described):
    store = ReferenceStore(tmp_path, described)
    entries = [entry(n, tokens=n % 4 + 1, described=described) for n in range(20)]
    store.write(entries[:12])
    store.write(entries[12:])
    store.refresh()
    assert len(store) == len(ReferenceStore(tmp_path, described)) == 20
    for order in ([3], [15, 2, 2, 19]):
        places = store.locate([entries[n].key for n in order])
        full, prompt_free = store.read(places)
        assert close(full, torch.cat([entries[n].full for n in order]))
        if described is ALL:
            assert close(prompt_free, torch.cat([entries[n].prompt_free for n in order]))
    assert store.locate([bytes(15) + b"x", entries[0].key])[0] is None
    assert ReferenceStore(tmp_path / "empty", described).locate([entries[0].key]) == [None]


def damage_size(path):
    path.write_bytes(path.read_bytes()[:-7])


def damage_bit(path):
    content = bytearray(path.read_bytes())
    content[-9] ^= 4
    path.write_bytes(content)


def damage_index(path):
    path.with_suffix(".json").write_text("{")


@pytest.mark.parametrize("damage", [damage_size, damage_bit, damage_index, lambda path: path.unlink()])
def test_a_damaged_shard_is_taken_away_and_the_others_stay(tmp_path, damage, caplog):
    store = ReferenceStore(tmp_path, PLAIN)
    store.write([entry(1)])
    (first,) = store.folder.glob("*.safetensors")
    store.write([entry(2)])
    damage(first)
    with caplog.at_level("INFO", logger="pact_plugins"):
        again = ReferenceStore(tmp_path, PLAIN)
    assert str(first.stem) in caplog.text
    assert again.locate([entry(1).key])[0] is None
    assert again.locate([entry(2).key])[0] is not None
    assert not first.exists()


def test_files_of_a_build_that_died_do_not_count(tmp_path):
    store = ReferenceStore(tmp_path, PLAIN)
    store.write([entry(1)])
    (store.folder / "half.safetensors").write_bytes(b"half")
    (store.folder / ".half.json.x.json").write_text("{")
    assert len(ReferenceStore(tmp_path, PLAIN)) == 1
    with store.building():
        pass
    assert not (store.folder / "half.safetensors").exists()
    assert len(ReferenceStore(tmp_path, PLAIN)) == 1


_WORKER = """
import sys, time
from pathlib import Path
from tests.reference.cache.test_store import PLAIN, entry
from pact_plugins.reference.cache.store import ReferenceStore
store = ReferenceStore(Path(sys.argv[1]), PLAIN)
print("ready", flush=True)
sys.stdin.readline()
with store.building():
    store.refresh()
    wanted = [entry(number) for number in range(6)]
    missing = [e for e, place in zip(wanted, store.locate([e.key for e in wanted])) if place is None]
    time.sleep(0.3)
    if missing:
        store.write(missing)
store.refresh()
print(len(missing), len(store), flush=True)
"""


@pytest.mark.matrix
def test_of_two_processes_one_builds_and_both_read(tmp_path):
    command = [sys.executable, "-c", _WORKER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, env=python_path(), **pipes) for _ in range(2)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    results = sorted(worker.communicate(timeout=300)[0].split() for worker in workers)
    assert results == [["0", "6"], ["6", "6"]]
    assert len(list((tmp_path / PLAIN.name).glob("*.safetensors"))) == 1


def test_listing_and_removing(tmp_path):
    folder = tmp_path / "reference"
    store = ReferenceStore(folder, ALL)
    store.write([entry(n, described=ALL) for n in range(3)])
    ReferenceStore(folder, PLAIN)
    listed = {found.path.name: found for found in list_stores(tmp_path)}
    assert set(listed) == {PLAIN.name, ALL.name}
    found = listed[ALL.name]
    assert (found.entries, found.response_tokens, found.reference_model) == (3, 9, ALL.reference_model)
    assert found.holds == f"logits of {ALL.token_count} tokens ({ALL.safety_tokens}) + prompt-free"
    assert found.cells[-2] == f"{found.bytes / 9:.0f}"
    (folder / PLAIN.name / "store.json").write_text(json.dumps({"format": "another"}))
    assert {found.path.name: found.reference_model for found in list_stores(tmp_path)}[PLAIN.name] == ""
    remove_store(folder / ALL.name)
    assert [found.path.name for found in list_stores(tmp_path)] == [PLAIN.name]
