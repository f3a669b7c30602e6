"""The example YAMLs: the tiny ones train, the large ones pass Axolotl's own schema."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pact_lab.tiny_world import aligned_path
from pact_plugins.settings import merged
from tests.axolotl import runs
from tests.axolotl.runs import PLUGIN
from tests.helpers import matrix

EXAMPLES = runs.CHECKOUT / "examples" / "axolotl"
FILES = sorted(EXAMPLES.glob("*.yml"))
TINY = [file for file in FILES if file.name.startswith("tiny_")]
LARGE = [file for file in FILES if file not in TINY]


def test_there_is_one_for_each_mode_and_family() -> None:
    assert {file.stem for file in TINY} == {"tiny_lora", "tiny_full", "tiny_packing"}
    assert {file.stem.partition("_")[0] for file in LARGE} == {"llama3", "qwen3", "gemma3"}


def read(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text())


@pytest.mark.framework
@pytest.mark.parametrize("name", matrix.rows([file.stem for file in TINY], always=["tiny_lora"]))
def test_tiny_examples_train(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "axolotl"
    folder.mkdir()
    shutil.copy(EXAMPLES / "tiny_chat.jsonl", folder)
    shutil.copytree(EXAMPLES.parent / "tiny_prompts", tmp_path / "tiny_prompts")
    settings = {
        **read(EXAMPLES / f"{name}.yml"),
        "base_model": str(aligned_path()),
        "output_dir": "out",
        "max_steps": 2,
    }
    settings["pact"] = merged(settings["pact"], {"reference": {"cache_path": "cache"}})
    (folder / "config.yml").write_text(yaml.safe_dump(settings))
    run = runs.in_fork(folder, runs.train).succeeded()
    assert run.record["config"]["preset"] == "pact"
    assert run.record["optimizer_steps_protected"] == 2
    assert run.record["reference"] == ("frozen_copy" if name == "tiny_full" else "adapter_off")


@pytest.mark.parametrize("file", LARGE, ids=lambda file: file.stem)
def test_large_examples_are_axolotls(file: Path, tmp_path: Path) -> None:
    """Checked as on a GPU, with every key known to the schema that Axolotl and its plugins make."""

    def check() -> None:
        from axolotl.cli.config import prepare_plugins
        from axolotl.integrations.config import merge_input_args
        from axolotl.utils.config import validate_config
        from axolotl.utils.dict import DictDefault

        cfg = DictDefault(read(file))
        prepare_plugins(cfg)
        schema = merge_input_args()[0]
        unknown = [key for key in cfg if key not in schema.model_fields]
        assert not unknown, unknown
        capabilities = {"bf16": True, "fp8": False, "tf32": True, "n_gpu": 1, "compute_capability": "sm_90"}
        checked = validate_config(cfg, capabilities=capabilities, env_capabilities={"torch_version": "2.13.0"})
        assert PLUGIN in checked.plugins
        assert checked.pact is not None

    runs.in_fork(tmp_path, check).succeeded()
