"""The safety-token file: round trip, and every way in which it may be wrong."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from pact_plugins import SafetyTokens, tensor_file
from pact_plugins.errors import SafetyTokensError
from tests.helpers.tiny import tiny_safety_tokens, tiny_tokenizer


@pytest.fixture
def file(tmp_path, safety_tokens):
    return safety_tokens.save(tmp_path / "folder" / "tokens.safetensors")


def rewrite(file, *, tensors=None, metadata=None, drop=()):
    """The file once more, with changes, as one from before there was a checksum."""
    with safe_open(str(file), framework="pt") as reader:
        content = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
        facts = {key: value for key, value in reader.metadata().items() if key != "checksum"}
    content.update(tensors or {})
    facts.update({key: json.dumps(value) for key, value in (metadata or {}).items()})
    for name in drop:
        content.pop(name, None)
        facts.pop(name, None)
    save_file(content, file, metadata=facts)
    return file


def test_round_trip(file, safety_tokens, tokenizer):
    loaded = SafetyTokens.load(file, tokenizer=tokenizer)
    for name in ("token_ids", "direction", "aligned_probability", "contrast_probability", "weights"):
        assert torch.equal(getattr(loaded, name), getattr(safety_tokens, name))
    for name in ("token_strings", "tokenizer_fingerprint", "vocabulary_size", "settings", "fingerprint"):
        assert getattr(loaded, name) == getattr(safety_tokens, name)
    assert loaded.token_ids.tolist() == sorted(loaded.token_ids.tolist())
    assert (loaded.weights >= 0).all()
    assert (loaded.direction < 0).any()
    assert len(loaded) == 12


def test_the_file_is_plain_safetensors_with_json_metadata(file, safety_tokens):
    with safe_open(str(file), framework="pt") as reader:
        metadata = {key: json.loads(value) for key, value in reader.metadata().items()}
    assert metadata["format"] == "pact-safety-tokens/1"
    assert metadata["token_strings"] == list(safety_tokens.token_strings)
    assert metadata["settings"] == {"scorer": "by hand"}


def test_fingerprint_tells_tokens_and_directions_apart():
    first, second = tiny_safety_tokens(seed=0), tiny_safety_tokens(seed=1)
    assert first.fingerprint != second.fingerprint
    assert first.fingerprint == tiny_safety_tokens(seed=0).fingerprint


def test_an_added_padding_token_does_not_matter(file, tokenizer):
    tokenizer.add_special_tokens({"pad_token": "<|new pad|>"})
    assert len(SafetyTokens.load(file, tokenizer=tokenizer)) == 12


def test_another_tokenizer_is_refused(file):
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")))
    with pytest.raises(SafetyTokensError, match="belongs to another tokenizer") as error:
        SafetyTokens.load(file, tokenizer=other)
    assert str(file) in str(error.value)
    assert "pact calibrate" in str(error.value)


def test_a_moved_token_is_refused_even_with_the_right_fingerprint(file, tokenizer, safety_tokens):
    strings = list(safety_tokens.token_strings)
    strings[0] = "moved"
    with pytest.raises(SafetyTokensError, match="another tokenizer"):
        SafetyTokens.load(rewrite(file, metadata={"token_strings": strings}), tokenizer=tokenizer)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SafetyTokensError, match=r"no such file: .*nowhere.*pact calibrate MODEL"):
        SafetyTokens.load(tmp_path / "nowhere.safetensors")
    with pytest.raises(SafetyTokensError, match="no such file"):
        SafetyTokens.load(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_file_is_named(file, damage):
    content = file.read_bytes()
    file.write_bytes({"cut": content[: len(content) // 2], "text": b"not safetensors at all", "empty": b""}[damage])
    with pytest.raises(SafetyTokensError, match="cannot be read as a safetensors file") as error:
        SafetyTokens.load(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": ["direction"]}, "lacks direction"),
        ({"drop": ["tokenizer_fingerprint"]}, "lacks tokenizer_fingerprint"),
        ({"drop": ["format"]}, "lacks format"),
        ({"metadata": {"format": "pact-safety-tokens/9"}}, "format 'pact-safety-tokens/9'"),
        ({"metadata": {"token_strings": ["one"]}}, "damaged"),
        ({"metadata": {"token_strings": []}}, "damaged"),
        ({"metadata": {"token_strings": 7}}, "damaged"),
        ({"metadata": {"vocabulary_size": "many"}}, "damaged"),
        ({"metadata": {"settings": "none"}}, "damaged"),
        ({"tensors": {"direction": torch.ones(3)}}, "damaged"),
        ({"tensors": {"direction": torch.full((12,), float("nan"))}}, "damaged"),
        ({"tensors": {"token_ids": torch.arange(12).flip(0)}}, "not strictly ascending"),
        ({"tensors": {"token_ids": torch.arange(12) // 2}}, "not strictly ascending"),
        ({"tensors": {"token_ids": torch.arange(12) - 3}}, "damaged"),
        ({"tensors": {"token_ids": torch.arange(12) + 400}}, "damaged"),
        ({"tensors": {"token_ids": torch.arange(12.0)}}, "damaged"),
    ],
)
def test_inconsistent_content_is_refused(file, change, message):
    with pytest.raises(SafetyTokensError, match=message) as error:
        SafetyTokens.load(rewrite(file, **change))
    assert str(file) in str(error.value)


def test_metadata_that_is_no_json_is_refused(file):
    with safe_open(str(file), framework="pt") as reader:
        tensors = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
        metadata = {**reader.metadata(), "settings": "{"}
    save_file(tensors, file, metadata=metadata)
    with pytest.raises(SafetyTokensError, match="cannot be read"):
        SafetyTokens.load(file)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(file, monkeypatch):
    before = file.read_bytes()

    def fail(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(tensor_file, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        tiny_safety_tokens(seed=1).save(file)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]


def test_ids_beyond_the_model_are_refused(safety_tokens):
    largest = int(safety_tokens.token_ids.max())
    safety_tokens.check_vocabulary(largest + 1)
    with pytest.raises(SafetyTokensError, match=rf"has id {largest}.*only {largest} rows"):
        safety_tokens.check_vocabulary(largest)


def test_random_tokens_are_ordinary_reproducible_and_of_equal_weight():
    tokenizer = tiny_tokenizer()
    first = SafetyTokens.random(tokenizer, 368, count=50, seed=1)
    second = SafetyTokens.random(tokenizer, 368, count=50, seed=1)
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != SafetyTokens.random(tokenizer, 368, count=50, seed=2).fingerprint
    assert len(first) == 50
    assert not set(first.token_ids.tolist()) & set(tokenizer.all_special_ids)
    assert int(first.token_ids.max()) < len(tokenizer)
    assert float(first.direction.norm()) == pytest.approx(1)
    assert len(first.direction.unique()) == 1


def test_opening_tokens_and_threshold_of_a_file(tmp_path, safety_tokens):
    settings = {"refusal_opening_tokens": [7, 3], "compliance_opening_tokens": [5], "refusal_threshold": 0.75}
    loaded = SafetyTokens.load(replace(safety_tokens, settings=settings).save(tmp_path / "tokens.safetensors"))
    assert (loaded.refusal_opening_tokens, loaded.compliance_opening_tokens, loaded.refusal_threshold) == (
        (7, 3),
        (5,),
        0.75,
    )
    assert (safety_tokens.refusal_opening_tokens, safety_tokens.refusal_threshold) == ((), 0.5)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("refusal_opening_tokens", [368]),
        ("refusal_opening_tokens", "7"),
        ("compliance_opening_tokens", [1.5]),
        ("refusal_threshold", 2),
    ],
)
def test_damaged_opening_tokens_are_named(safety_tokens, key, value):
    damaged = replace(safety_tokens, settings={key: value})
    with pytest.raises(SafetyTokensError, match=key):
        getattr(damaged, key)


def test_a_flipped_bit_is_not_taken_for_another_weight(tmp_path, safety_tokens):
    file = safety_tokens.save(tmp_path / "tokens.safetensors")
    content = bytearray(file.read_bytes())
    refused = 0
    # The tensors' own bytes: a lower bit of a weight leaves every shape and range as it was.
    for place in range(len(content) - 4 * len(safety_tokens) * 3, len(content), 4):
        damaged = bytearray(content)
        damaged[place] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(SafetyTokensError, match=r"damaged|cannot be read"):
            SafetyTokens.load(file)
        refused += 1
    assert refused > 10
    file.write_bytes(content)
    assert SafetyTokens.load(file).fingerprint == safety_tokens.fingerprint


def test_a_file_without_a_checksum_still_loads(tmp_path, safety_tokens):
    from safetensors import safe_open
    from safetensors.torch import save_file

    file = safety_tokens.save(tmp_path / "tokens.safetensors")
    with safe_open(str(file), framework="pt") as reader:
        metadata = {key: value for key, value in reader.metadata().items() if key != "checksum"}
        tensors = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
    save_file(tensors, tmp_path / "old.safetensors", metadata=metadata)
    assert SafetyTokens.load(tmp_path / "old.safetensors").fingerprint == safety_tokens.fingerprint
