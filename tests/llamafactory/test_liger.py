"""Liger's kernels with their fused head, which gives the trainer a loss and no logits; interpreted where no GPU is."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.llamafactory import commands, runs

pytestmark = [pytest.mark.framework, pytest.mark.matrix]

# Triton's interpreter stumbles over Liger's other kernels (a float argument); the fused head is what matters here.
DRIVER = """
import functools, sys
import liger_kernel.transformers as liger
import yaml
from llamafactory.train import tuner
from pact_llamafactory.activation import install

whole = liger.apply_liger_kernel_to_llama
liger.apply_liger_kernel_to_llama = functools.partial(whole, rope=False, rms_norm=False, swiglu=False)
install(tuner)
tuner.run_exp(yaml.safe_load(open(sys.argv[1])))
"""


@pytest.mark.skipif(find_spec("liger_kernel") is None, reason="needs liger-kernel")
def test_the_term_rides_on_the_fused_head(settings: dict[str, Any], tmp_path: Path) -> None:
    small = {
        **settings,
        "per_device_train_batch_size": 1,
        "disable_shuffling": True,
        "disable_gradient_checkpointing": True,
    }
    config = commands.write({**small, "enable_liger_kernel": True}, tmp_path / "cfg.yaml")
    (tmp_path / "driver.py").write_text(DRIVER)
    done = commands.run([sys.executable, "driver.py", str(config)], cwd=tmp_path, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Liger kernel has been applied" in done.stderr + done.stdout
    fused = json.loads((tmp_path / "out/pact.json").read_text())
    assert fused["gradient_receipts"] == 2
    plain = runs.train(small, output_dir=str(tmp_path / "plain"))
    assert plain.record is not None
    log = json.loads((tmp_path / "out/trainer_state.json").read_text())["log_history"]
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert losses == pytest.approx(plain.logged("loss"), rel=1e-3)
    assert fused["last_log"]["pact/kl"] == pytest.approx(plain.record["last_log"]["pact/kl"], rel=2e-2)
