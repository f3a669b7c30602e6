"""``torch_compile``: what was compiled without our hooks is not run with them, and the anchor's pass is compiled."""

from __future__ import annotations

import pytest
from torch._dynamo.utils import counters
from transformers import TrainerCallback

from pact_plugins.anchor import part as room
from pact_plugins.settings import merged
from tests.helpers.tiny import tiny_safety_tokens
from tests.helpers.trainers import lora, pact, sft_trainer

pytestmark = pytest.mark.framework

ANCHOR = {"preset": "off", "anchor": {"prompts": "bundled", "replies": 8, "max_new_tokens": 8}}


class Graphs(TrainerCallback):
    """How many graphs torch had compiled when each optimizer step began."""

    def __init__(self):
        self.begun = []

    def on_step_begin(self, args, state, control, **kwargs):
        self.begun.append(counters["stats"]["unique_graphs"])


def train(output, config, *, compiled=True):
    """The losses of four steps, rounded, and the graphs at the beginning of each."""
    settings = {"torch_compile": True, "torch_compile_backend": "aot_eager"} if compiled else {}
    graphs = Graphs()
    callbacks = [graphs]
    if config is not None:
        config = merged(config, {"reference": {"cache_path": str(output / "cache")}})
        callbacks.append(pact(config, safety_tokens=tiny_safety_tokens()))
    trainer = sft_trainer(output, adapter=lora(), callbacks=callbacks, max_steps=4, **settings)
    trainer.train()
    names = ("loss", "pact/kl", "pact/anchor_kl")
    return [entry[name] for entry in trainer.state.log_history for name in names if name in entry], graphs.begun


def test_a_protected_run_after_a_plain_one_has_its_hooks(tmp_path):
    train(tmp_path / "plain", None)
    protected, _ = train(tmp_path / "protected", {})
    assert train(tmp_path / "uncompiled", {}, compiled=False)[0] == pytest.approx(protected, rel=1e-4, abs=1e-5)


@pytest.mark.matrix
@pytest.mark.parametrize("config", [{}, ANCHOR], ids=["term", "anchor"])
def test_plain_and_protected_runs_take_turns_in_one_process(tmp_path, config):
    plain, _ = train(tmp_path / "plain", None)
    protected, _ = train(tmp_path / "protected", config)
    assert len(protected) > len(plain)
    assert train(tmp_path / "plain again", None)[0] == plain
    assert train(tmp_path / "protected again", config)[0] == protected
    assert train(tmp_path / "uncompiled", config, compiled=False)[0] == pytest.approx(protected, rel=1e-4, abs=1e-5)


def test_one_graph_serves_every_pass_of_the_anchor(tmp_path, monkeypatch):
    """Its replies are of different lengths, and each step draws others."""
    _, compiled = train(tmp_path / "compiled", ANCHOR)
    monkeypatch.setattr(room, "compiled_as_trained", lambda _decoder: None)
    _, eager = train(tmp_path / "eager", ANCHOR)
    assert compiled[-1] - compiled[0] == eager[-1] - eager[0] + 1
