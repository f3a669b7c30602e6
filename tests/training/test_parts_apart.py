"""No part knows another: with one's folder and its entry gone, the others are trained with as ever."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers.trainers import python_path

pytestmark = pytest.mark.framework

TRAINED = """
import sys

GONE, *LEFT = sys.argv[1:]


class Removed:
    def find_spec(self, name, path=None, target=None):
        if name == f"pact_plugins.{GONE}" or name.startswith(f"pact_plugins.{GONE}."):
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Removed())
from pact_plugins import PACTConfig, plugins

plugins.DEFAULT_PLUGINS = tuple(name for name in plugins.DEFAULT_PLUGINS if f".{GONE}." not in name)
from pact_plugins.training.preparation import Run, prepare
from tests.helpers.guarded import Batch, tokens_with_openings
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

assert sorted(plugins.parts()) == sorted(LEFT), list(plugins.parts())
settings = {"anchor": {"replies": 4, "max_new_tokens": 4}} if "anchor" in LEFT else {}
config = PACTConfig(**{"preset": "guard", **settings})
assert sorted(config.parts) == sorted(LEFT)
model = tiny_llama()
preparation = prepare(model, tiny_tokenizer(), config, Run(safety_tokens=tokens_with_openings()))
preparation.attachment.attach_to_outputs()
model.train()
model(**Batch.random(rows=3).inputs).loss.backward()
preparation.attachment.receipts.settle(loss_scale=1.0, exact=True, suspects="")
assert sorted(part.name for part in preparation.parts) == sorted(LEFT)
assert not any(GONE in name.split(".") for name in sys.modules if name.startswith("pact_plugins"))
print("trained")
"""
PARTS = {"term", "row_gate", "anchor"}


@pytest.mark.parametrize("gone", sorted(PARTS))
def test_without_one_part_the_others_train(gone):
    command = [sys.executable, "-c", TRAINED, gone, *sorted(PARTS - {gone})]
    finished = subprocess.run(command, env=python_path(), capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert finished.stdout.endswith("trained\n")
