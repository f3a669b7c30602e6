"""The example YAMLs: read by LLaMA-Factory's own parser, the tiny one run as its first lines say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pact_lab import tiny_world
from pact_llamafactory.arguments import take_stage
from tests.llamafactory import commands

FOLDER = Path(__file__).parents[2] / "examples/llamafactory"
TRAINING = sorted(path for path in FOLDER.glob("*.yaml") if "do_train" in path.read_text())


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.stem)
def test_every_key_is_known(path: Path, tmp_path: Path) -> None:
    """Its parser refuses unknown keys; ours refuses unknown keys of the block."""
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.data.template import TEMPLATES
    from llamafactory.hparams.parser import _parse_train_args

    stage = take_stage(yaml.safe_load(path.read_text()))
    assert stage is not None
    stage.config()
    # Without a GPU the precision is all that differs from the machine that the file is for.
    arguments = {**stage.arguments, "output_dir": str(tmp_path), "bf16": False, "use_cpu": True}
    _, data, training, finetuning, _ = _parse_train_args(arguments)
    assert finetuning.stage == "sft"
    assert training.do_train
    assert data.template is None or data.template in TEMPLATES
    assert get_dataset_list(data.dataset, str(FOLDER / "data"))


def test_export_example_is_known() -> None:
    from llamafactory.hparams.parser import _parse_infer_args

    stage = take_stage(yaml.safe_load((FOLDER / "export.yaml").read_text()))
    assert stage is not None
    model, _, finetuning, _ = _parse_infer_args(stage.arguments)
    assert (model.export_dir, finetuning.stage) == ("runs/tiny_merged", "sft")


@pytest.mark.framework
@pytest.mark.matrix
def test_the_tiny_example_runs(tmp_path: Path) -> None:
    """From its own folder, both data formats in one run; the prompts are read from beside it."""
    model = f"model_name_or_path={tiny_world.aligned_path()}"
    changes = [model, f"output_dir={tmp_path / 'out'}", f"pact.reference.cache_path={tmp_path}", "use_cpu=true"]
    done = commands.run(["pact", "train", "llamafactory", "tiny.yaml", *changes], cwd=FOLDER)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((tmp_path / "out/pact.json").read_text())
    assert record["optimizer_steps_protected"] == 3
    assert record["config"]["preset"] == "pact"
