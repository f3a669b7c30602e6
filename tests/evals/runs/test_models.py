"""Models by folder, hub id, adapter and LABEL=PATH, and what lm-eval is told to load."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pact_evals.runs.models import ModelSpec, folder_fingerprint, read_specs, require_chat_template
from pact_plugins.errors import ConfigurationError


def adapter(folder: Path, base: str | None, **settings) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, **settings}))
    return folder


def read(*models: str | Path, adapters: tuple[str, ...] = (), backend: str = "hf", **arguments) -> list[ModelSpec]:
    return read_specs([str(model) for model in models], adapters, backend=backend, arguments=arguments)


def test_folders_hub_ids_and_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("out/sft", "odd=name"):
        Path(name).mkdir(parents=True)
    specs = read("org/Chat-1B", "out/sft", "mine=out/sft", "odd=name", "gpt2")
    assert [(spec.label, spec.model) for spec in specs] == [
        ("Chat-1B", "org/Chat-1B"),
        ("sft", "out/sft"),
        ("mine", "out/sft"),
        ("odd-name", "odd=name"),
        ("gpt2", "gpt2"),
    ]
    assert all(spec.adapter is None for spec in specs)
    assert read("out/sft", dtype="bfloat16")[0].model_args() == {"pretrained": "out/sft", "dtype": "bfloat16"}


def test_an_adapter_folder_names_its_base(tmp_path):
    folder = adapter(tmp_path / "lora", "org/base", r=64)
    (spec,) = read(f"lora={folder}")
    assert (spec.model, spec.adapter) == ("org/base", str(folder))
    assert spec.model_args() == {"pretrained": "org/base", "peft": str(folder)}
    (spec,) = read(folder, backend="vllm")
    assert spec.model_args() == {"pretrained": "org/base", "lora_local_path": str(folder), "max_lora_rank": 64}
    (folder / "tokenizer_config.json").write_text("{}")
    assert spec.model_args()["tokenizer"] == str(folder)
    with pytest.raises(ConfigurationError, match="'sglang' takes no adapter"):
        read(folder, backend="sglang")[0].model_args()


def test_adapters_stand_on_the_model_beside_them(tmp_path):
    folder = adapter(tmp_path / "lora", "/elsewhere/on/another/machine")
    first, second = read("before=org/base", adapters=(f"trained={folder}",))
    assert (first.label, first.adapter) == ("before", None)
    assert (second.label, second.model, second.adapter) == ("trained", "org/base", str(folder))


def test_what_cannot_be_meant_is_named(tmp_path):
    lora = adapter(tmp_path / "lora", "/elsewhere/on/another/machine")
    nameless = adapter(tmp_path / "nameless", None)
    (tmp_path / "file").touch()
    for arguments, message in (
        (("./nowhere",), r"MODEL: \./nowhere cannot be loaded: no such folder"),
        ((tmp_path / "file",), "is a file"),
        (("a/b=org/m",), "the label 'a/b' must be"),
        (("x=",), "an empty MODEL"),
        (("one/m", "two/M"), "two models are called 'm'"),
        ((lora,), "names the base model /elsewhere.* which is not here"),
        ((nameless,), "names no base model"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            read(*arguments)
    with pytest.raises(ConfigurationError, match="--adapter stands on one MODEL, but 2 are given"):
        read("org/a", "org/b", adapters=(str(lora),))
    with pytest.raises(ConfigurationError, match="is no adapter folder"):
        read("org/a", adapters=(str(tmp_path),))
    with pytest.raises(ConfigurationError, match="--model-args: peft is what MODEL and --adapter say"):
        read("org/a", peft="x")


def test_the_identity_changes_with_the_files_only(tmp_path, model_path):
    spec = ModelSpec("m", str(model_path))
    assert spec.identity() == ModelSpec("other", str(model_path)).identity()
    (tmp_path / "config.json").write_text("{}")
    before = folder_fingerprint(tmp_path)
    (tmp_path / "trainer_state.json").write_text("{}")
    (tmp_path / "pact_eval").mkdir()
    assert folder_fingerprint(tmp_path) == before
    os.utime(tmp_path / "config.json", (1, 1))
    assert folder_fingerprint(tmp_path) != before


def test_a_hub_model_is_known_by_its_commit(tmp_path, monkeypatch):
    from huggingface_hub import constants

    snapshot = tmp_path / "models--org--m" / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (tmp_path / "models--org--m" / "refs").mkdir()
    (tmp_path / "models--org--m" / "refs" / "main").write_text("abc123")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert ModelSpec("m", "org/m").identity()["weights"] == "org/m@abc123"
    assert ModelSpec("m", "org/m", backend="local-chat-completions").identity()["weights"] == "org/m@unknown"


def test_a_chat_template_is_required(model_path, untemplated_model_path):
    require_chat_template(ModelSpec("m", str(model_path)))
    with pytest.raises(ConfigurationError, match=r"^m: the tokenizer of .* has no chat template.*--no-chat-template"):
        require_chat_template(ModelSpec("m", str(untemplated_model_path)))
    require_chat_template(ModelSpec("m", str(untemplated_model_path), arguments={"tokenizer": str(model_path)}))
    require_chat_template(ModelSpec("m", "org/nowhere"))
    require_chat_template(ModelSpec("m", str(untemplated_model_path), backend="local-chat-completions"))
