"""``reference: cache`` gives what the online reference gives, through the real trainer."""

from __future__ import annotations

import json
import re
import shutil
import zlib
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from pact_plugins.cli.cache import cache
from pact_plugins.errors import ConfigurationError, PACTError
from pact_plugins.presets import DEFAULT_PRESET
from pact_plugins.reference.cache.entries import Records
from tests.helpers import matrix
from tests.helpers.guarded import tokens_with_long_openings
from tests.helpers.tiny import save_model, tiny_llama, tiny_safety_tokens, tiny_tokenizer
from tests.helpers.trainers import Watch, lora, pact, rows, sft_trainer

pytestmark = pytest.mark.framework

# Weights move before the first step, so that there is something to measure: a cache that asked the moved weights would
# see no drift.
TURNS = [
    {
        "prompt": [
            {"role": "user", "content": "please help"},
            {"role": "assistant", "content": "with a garden"},
            {"role": "user", "content": "and a plan"},
        ],
        "completion": [{"role": "assistant", "content": "sorry I cannot do that"}],
    }
]


def train(folder, reference, *, objective="match", adapter=True, model=None, train_rows=None, tokens=None, **settings):
    """One run; returns its gradients, its log line and its ``pact.json``."""
    watch = Watch(move=True)
    config = {"preset": "match", "term": {"objective": objective, "weight": 1.5}, "reference": {"kind": reference}}
    trainer = sft_trainer(
        folder,
        model=model,
        adapter=lora() if adapter else None,
        callbacks=[pact(config, safety_tokens=tokens or tiny_safety_tokens()), watch],
        train_rows=train_rows or [*rows(7), *TURNS],
        **settings,
    )
    trainer.train()
    return watch.gradients[0], watch.losses[0], json.loads((folder / "pact.json").read_text())


def assert_same(found, expected, tolerance=1e-3):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= tolerance * gradient.norm() + 1e-9, name


@pytest.mark.parametrize(
    ("objective", "settings"),
    [
        pytest.param("match", {}, id="match"),
        pytest.param("published", {}, id="published, prompt-free"),
        pytest.param("match", {"packing": True, "max_length": 64, "per_device_train_batch_size": 2}, id="packed"),
        pytest.param(
            "published", {"packing": True, "max_length": 64}, id="packed, prompt-free", marks=pytest.mark.matrix
        ),
    ],
)
def test_equals_the_online_reference(tmp_path, objective, settings):
    online = train(tmp_path / "online", "auto", objective=objective, **settings)
    cached = train(tmp_path / "cached", "cache", objective=objective, **settings)
    assert_same(cached[0], online[0])
    assert cached[1]["pact/kl"] == pytest.approx(online[1]["pact/kl"], rel=1e-3)
    assert cached[1]["loss"] == pytest.approx(online[1]["loss"], rel=1e-4)
    assert online[1]["pact/kl"] > 1e-3
    assert cached[1]["pact/cache_misses"] == 0
    assert cached[2]["cache"]["misses"] == 0
    assert cached[2]["cache"]["sequences"] == 8


def test_full_fine_tuning_keeps_no_copy_and_is_reused_when_packed(tmp_path):
    online = train(tmp_path / "online", "frozen_copy", adapter=False)
    cached = train(tmp_path / "cached", "cache", adapter=False)
    assert_same(cached[0], online[0])
    again = train(tmp_path / "packed", "cache", adapter=False, packing=True, max_length=64)
    assert again[2]["cache"]["folder"] == cached[2]["cache"]["folder"]
    assert again[2]["cache"]["misses"] == 0
    assert again[2]["cache"]["sequences"] == cached[2]["cache"]["sequences"]


@pytest.mark.matrix
def test_lora_reuses_what_full_fine_tuning_cached(tmp_path):
    full = train(tmp_path / "full", "cache", adapter=False)[2]["cache"]
    assert train(tmp_path / "lora", "cache")[2]["cache"]["folder"] == full["folder"]


@pytest.mark.matrix
def test_other_safety_tokens_do_not_collide(tmp_path):
    one = train(tmp_path / "one", "cache")[2]["cache"]["folder"]
    others = tiny_safety_tokens(seed=4)
    two = train(tmp_path / "two", "cache", tokens=others)
    assert two[2]["cache"]["folder"] != one
    assert_same(two[0], train(tmp_path / "online", "auto", tokens=others)[0])


def streaming_loader(monkeypatch):
    """Every run's data look like a stream to the cache."""
    monkeypatch.setattr("pact_plugins.reference.cached.training_data", lambda *_: (None, "a stream"))


@pytest.mark.parametrize("objective", matrix.rows(["match", "published"], always=["published"]))
def test_unseen_sequences_ask_the_online_reference(tmp_path, monkeypatch, objective):
    online = train(tmp_path / "online", "auto", objective=objective)
    # Half of the rows are cached by an earlier run.
    train(tmp_path / "earlier", "cache", objective=objective, train_rows=rows(7)[:4])
    streaming_loader(monkeypatch)
    cached = train(tmp_path / "cached", "cache", objective=objective)
    assert_same(cached[0], online[0])
    assert 0 < cached[1]["pact/cache_misses"] < 4
    record = cached[2]["cache"]
    assert record["misses"] == cached[1]["pact/cache_misses"]
    assert record["hits"] + record["misses"] == 4


@pytest.mark.matrix
def test_full_fine_tuning_loads_the_aligned_model_for_an_unseen_sequence(tmp_path, monkeypatch):
    path = save_model(tmp_path / "aligned", tiny_llama(), tiny_tokenizer())
    online = train(tmp_path / "online", "frozen_copy", adapter=False, model=path)
    streaming_loader(monkeypatch)
    cached = train(tmp_path / "cached", "cache", adapter=False, model=path)
    assert cached[2]["cache"]["misses"] == 4
    assert_same(cached[0], online[0])
    # A model from nowhere cannot be loaded again.
    with pytest.raises(ConfigurationError, match=r"(?s)reference\.kind: cache met a sequence.*frozen_copy"):
        train(tmp_path / "nowhere", "cache", adapter=False)


def test_a_damaged_shard_is_computed_again(tmp_path, caplog):
    first = train(tmp_path / "first", "cache")
    folder = first[2]["cache"]["folder"]
    (shard,) = Path(folder).glob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-30] ^= 1
    shard.write_bytes(content)
    with caplog.at_level("INFO", logger="pact_plugins"):
        second = train(tmp_path / "second", "cache")
    assert "damaged" in caplog.text
    assert_same(second[0], first[0])
    (rebuilt,) = Path(folder).glob("*.safetensors")
    assert rebuilt != shard


def test_a_resumed_run_in_full_reuses_the_cache(tmp_path, caplog):
    path = save_model(tmp_path / "aligned", tiny_llama(), tiny_tokenizer())

    def trainer(callbacks, **settings):
        return sft_trainer(
            tmp_path / "run",
            model=path,
            train_rows=rows(8),
            callbacks=callbacks,
            save_strategy="steps",
            save_steps=1,
            **settings,
        )

    config = {"preset": "match", "term": {"weight": 1.5}, "reference": {"kind": "cache"}}
    trainer([pact(config)]).train()
    watch = Watch()
    with caplog.at_level("INFO", logger="pact_plugins"):
        trainer([pact(config), watch], max_steps=2).train(resume_from_checkpoint=True)
    assert "to compute" not in caplog.text
    assert watch.losses[0]["pact/cache_misses"] == 0
    assert watch.losses[0]["pact/kl"] > 0


BUILD = ["build", "--device", "cpu", "--dtype", "float32"]


@pytest.mark.parametrize("preset", [None, "gate_anchor", "guard", "published"])
def test_rows_cached_for_a_preset_are_found_by_a_run_of_it(tmp_path, caplog, private_cache, preset):
    path = save_model(tmp_path / "aligned", tiny_llama(), tiny_tokenizer())
    tokens = tokens_with_long_openings().save(tmp_path / "tokens.safetensors")
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(7)), encoding="utf-8")
    named = [] if preset is None else ["--preset", preset]
    built = CliRunner().invoke(cache, [*BUILD, path, str(data), "--safety-tokens", str(tokens), *named])
    assert built.exit_code == 0, built.output
    config = {
        "preset": preset or DEFAULT_PRESET,
        "reference": {"kind": "cache"},
        "anchor": {"replies": 4, "max_new_tokens": 4},
    }
    with caplog.at_level("INFO", logger="pact_plugins"):
        trainer = sft_trainer(
            tmp_path / "run",
            adapter=lora(),
            callbacks=[pact(config, safety_tokens=tokens_with_long_openings())],
            train_rows=rows(7),
        )
        trainer.train()
    assert "to compute" not in caplog.text
    assert "the reference was asked about" not in caplog.text
    record = json.loads((tmp_path / "run" / "pact.json").read_text())["cache"]
    # The row gate asks for no logits.
    has_term = config["preset"] != "gate_anchor"
    assert (record["sequences"], record["misses"]) == (7 if has_term else 0, 0)
    # The default's term asks about rows that the reference would refuse, and it refuses none of these.
    assert (record["hits"] > 0) == (preset in ("guard", "published"))


def test_without_openings_the_cache_is_built_for_what_is_left(tmp_path, private_cache, caplog):
    path = save_model(tmp_path / "aligned", tiny_llama(), tiny_tokenizer())
    tokens = tiny_safety_tokens().save(tmp_path / "tokens.safetensors")
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(7)), encoding="utf-8")
    build = [*BUILD, path, str(data), "--safety-tokens", str(tokens)]
    with caplog.at_level("WARNING", logger="pact_plugins"):
        assert CliRunner().invoke(cache, [*build, "--preset", "guard"]).exit_code == 0
    assert "row_gate is left out of preset: guard" in caplog.text
    written = CliRunner().invoke(cache, [*build, "--row-gate", "hard"])
    assert "row_gate: the safety tokens name no openings" in str(written.exception)
    idle = CliRunner().invoke(cache, build)
    assert "anchor asks the reference for nothing that could be kept" in str(idle.exception)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [{"from": "human", "value": "x"}]}, "no assistant turn"),
        ({"prompt": None, "completion": "x"}, "its columns "),
        ({"prompt": "x", "answer": "y"}, "its columns "),
        ({"text": "x"}, "its columns "),
    ],
)
def test_a_row_that_is_no_chat_row_is_named_before_the_model_is_loaded(tmp_path, monkeypatch, row, message):
    monkeypatch.setattr("pact_plugins.cli.loading.load_model", lambda *_, **__: pytest.fail("the model was loaded"))
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(one) + "\n" for one in [*rows(2), row]), encoding="utf-8")
    refused = CliRunner().invoke(cache, [*BUILD, "org/model", str(data)])
    assert isinstance(refused.exception, PACTError)
    assert re.match(rf"DATA: row 3 of .*rows\.jsonl: {message}", str(refused.exception))


def test_rows_cached_from_the_command_line_are_found_by_the_trainer(tmp_path, caplog, private_cache):
    path = save_model(tmp_path / "aligned", tiny_llama(), tiny_tokenizer())
    tokens = tiny_safety_tokens().save(tmp_path / "tokens.safetensors")
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in [*rows(7), *TURNS]), encoding="utf-8")
    build = [*BUILD, path, str(data), "--safety-tokens", str(tokens), "--preset", "match"]
    predicted = CliRunner().invoke(cache, [*build, "--dry-run"])
    assert predicted.exit_code == 0, predicted.output
    told = (
        r"0 of 8 sequences are there; 8 to compute with 166 response tokens, ([\d.]+ kB) on disk "
        r"\(\d+ bytes a token\), about [\d.]+ s; in "
    )
    size = re.match(told, predicted.stdout)
    assert size, predicted.stdout
    assert "0 stores" in CliRunner().invoke(cache, ["info"]).output
    built = CliRunner().invoke(cache, build)
    assert built.exit_code == 0, built.output
    (shard,) = private_cache.glob("reference/*/*.safetensors")
    # A thousand bytes are the file's own header, whatever it holds.
    assert float(size.group(1).split()[0]) * 1000 == pytest.approx(shard.stat().st_size, abs=1000)
    again = CliRunner().invoke(cache, [*build, "--dry-run"]).stdout
    assert again.startswith("8 of 8 sequences are there; 0 to compute with 0 response tokens, 0 B on disk, about 0.0 s")
    assert "1 stores" in CliRunner().invoke(cache, ["info"]).output
    # Progress bars go to standard error, which stands in built.output as well.
    assert built.stdout.startswith("8 sequences")
    with caplog.at_level("INFO", logger="pact_plugins"):
        record = train(tmp_path / "run", "cache")[2]["cache"]
    assert "to compute" not in caplog.text
    assert record["sequences"] == 8
    name = Path(record["folder"]).name
    assert name in CliRunner(env={"COLUMNS": "300"}).invoke(cache, ["info"]).output
    assert CliRunner().invoke(cache, ["clear", "another", "--yes"]).exit_code == 2
    assert "1 stores deleted" in CliRunner().invoke(cache, ["clear", name, "--yes"]).output
    assert not Path(record["folder"]).exists()


def test_what_cannot_work_is_said(tmp_path, monkeypatch):
    with pytest.raises(ConfigurationError, match="keeps the logits of a few tokens, but the whole vocabulary"):
        train(tmp_path / "run", "cache", objective="full_kl")


def test_numbers_that_are_not_the_references_are_refused_though_the_file_is_whole(tmp_path):
    folder = Path(train(tmp_path / "first", "cache")[2]["cache"]["folder"])
    (shard,) = folder.glob("*.safetensors")
    tensors = load_file(shard)
    # Well-formed in every way, checksums included: the logits of each token stand in another order.
    changed = {**tensors, "full_codes": tensors["full_codes"].flip(1)}
    changed["checksums"] = torch.tensor([Records(changed).checksum(row) for row in range(len(tensors["checksums"]))])
    save_file(changed, shard)
    index = json.loads(shard.with_suffix(".json").read_text())
    index.update(bytes=shard.stat().st_size, crc32=zlib.crc32(shard.read_bytes()))
    shard.with_suffix(".json").write_text(json.dumps(index))
    with pytest.raises(
        ConfigurationError, match=rf"not what the reference answers now.*pact cache clear {folder.name}"
    ):
        train(tmp_path / "second", "cache")


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_cache(tmp_path, monkeypatch, caplog):
    expected = train(tmp_path / "first", "cache")
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("PACT_CACHE_PATH", str(blocked))
    with caplog.at_level("INFO", logger="pact_plugins"):
        found = train(tmp_path / "second", "cache")
    assert "cannot be written (Not a directory): what it lacks is kept in" in caplog.text
    assert_same(found[0], expected[0])
    assert found[2]["cache"]["misses"] == 0
    assert not Path(found[2]["cache"]["folder"]).exists()


def test_the_size_is_known_before_the_first_forward_pass(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage._replace(free=100))
    with pytest.raises(ConfigurationError, match=r"cache_path: .* needs [\d.]+ kB .* 100 B free"):
        train(tmp_path / "run", "cache")
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(("held_tokens", "reads"), [(2**24, 1), (3, 2)], ids=["held", "too many to be held"])
def test_rows_are_read_once_while_they_can_be_held(tmp_path, monkeypatch, held_tokens, reads):
    from pact_plugins.batch.training_data import TrainingData

    monkeypatch.setattr("pact_plugins.reference.cache.building._HELD_TOKENS", held_tokens)
    read, row = [], TrainingData._row

    def counted(self, index, rules):
        read.append(index)
        return row(self, index, rules)

    monkeypatch.setattr(TrainingData, "_row", counted)
    found = train(tmp_path / "cached", "cache")
    count = len(rows(7)) + len(TURNS)
    assert sorted(read) == sorted(list(range(count)) * reads)
    assert_same(found[0], train(tmp_path / "online", "auto")[0])
