"""Refusal masses: asked once a context, whatever comes behind it, and found again by later runs."""

from __future__ import annotations

import gc
import json
from contextlib import nullcontext

import datasets
import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, LlamaModel, TrainerCallback
from trl import SFTTrainer

from pact_plugins import PACTConfig
from pact_plugins.batch.openings import Openings, RefusalCriterion
from pact_plugins.cli.cache import cache
from pact_plugins.contracts import ReferenceContext
from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import AutocastState, model_parts_of
from pact_plugins.reference.cache.listing import list_stores
from pact_plugins.reference.online import DecoderReference, FrozenCopyReference
from tests.helpers import guarded
from tests.helpers.guarded import tokens_with_long_openings, tokens_with_openings
from tests.helpers.tiny import save_model, tiny_llama
from tests.helpers.trainers import lora, pact, sft_trainer

pytestmark = pytest.mark.framework
GATE = {"preset": "off", "row_gate": {"mode": "report", "threshold": 0.5}, "reference": {"check_every": 0}}


class Asked:
    """The contexts that reach the reference, and its passes over whole rows."""

    def __init__(self, monkeypatch):
        self.contexts, self.rows = [], 0
        asked, passed = DecoderReference.refusal_mass, DecoderReference.logits

        def refusal_mass(reference, contexts, *rest):
            self.contexts += [tuple(context) for context in contexts]
            return asked(reference, contexts, *rest)

        def logits(reference, request):
            self.rows += 1
            return passed(reference, request)

        monkeypatch.setattr(DecoderReference, "refusal_mass", refusal_mass)
        monkeypatch.setattr(DecoderReference, "logits", logits)


@pytest.fixture
def asked(monkeypatch):
    return Asked(monkeypatch)


class Decoders(TrainerCallback):
    """How many more are in memory while training than before."""

    def __init__(self):
        self.before, self.more = self._alive(), set()

    @staticmethod
    def _alive():
        gc.collect()
        return sum(isinstance(one, LlamaModel) for one in gc.get_objects())

    def on_step_begin(self, *_, **__):
        self.more.add(self._alive() - self.before)


def run(folder, cache, config=None, *, adapter=True, tokens=tokens_with_openings, watching=(), **settings):
    config = {**GATE, **(config or {})}
    config["reference"] = {"check_every": 0, "cache_path": str(cache), **config.get("reference", {})}
    trainer = sft_trainer(
        folder,
        adapter=lora() if adapter else None,
        callbacks=[pact(config, safety_tokens=tokens()), *watching],
        per_device_train_batch_size=2,
        **{"max_steps": 8, **settings},
    )
    trainer.train()
    return trainer, json.loads((folder / "pact.json").read_text())["parts"]["row_gate"]["gated_rows"]


def expected_scores(trainer, threshold=0.5):
    """By each row's place, one row at a time and with whole logits."""
    scores = {}
    for place, row in enumerate(trainer.train_dataset):
        first = next(place for place, label in enumerate(row["labels"]) if label != -100)
        with torch.no_grad():
            logits = tiny_llama()(input_ids=torch.tensor([row["input_ids"][:first]])).logits[0, -1]
        scores[place] = float(logits.softmax(-1)[guarded.REFUSAL_OPENING_TOKENS].sum())
    return {place: score for place, score in scores.items() if score > threshold}


@pytest.mark.parametrize("adapter", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
def test_each_context_is_asked_once_before_training(tmp_path, asked, adapter, packing):
    decoders, more = Decoders(), {"packing": packing, "max_length": 64}
    if not adapter:
        # Whence it could be loaded, if it had to be asked again.
        more["model"] = AutoModelForCausalLM.from_pretrained(save_model(tmp_path / "aligned", tiny_llama()))
    trainer, gated = run(tmp_path / "run", tmp_path / "cache", adapter=adapter, watching=[decoders], **more)
    # What is trained, and no frozen copy of it.
    assert decoders.more == {1}
    # Two epochs of eight rows.
    assert len(asked.contexts) == len(set(asked.contexts)) == 8
    assert asked.rows == 0
    assert {row["sequence"] for row in gated}
    if not packing:
        wanted = expected_scores(trainer)
        assert {row["row"]: row["score"] for row in gated} == pytest.approx(wanted, abs=1e-5)


def test_a_later_run_asks_nothing_again(tmp_path, asked):
    _, before = run(tmp_path / "first", tmp_path / "cache", tokens=tokens_with_long_openings)
    asked.contexts.clear()
    _, after = run(tmp_path / "second", tmp_path / "cache", tokens=tokens_with_long_openings, seed=7)
    assert not asked.contexts
    assert after == before
    # Another criterion is another question.
    run(tmp_path / "third", tmp_path / "cache", max_steps=1)
    assert len(asked.contexts) == 8


def test_a_damaged_file_is_asked_again(tmp_path, asked):
    _, before = run(tmp_path / "first", tmp_path / "cache")
    (path,) = (tmp_path / "cache" / "refusals").rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    asked.contexts.clear()
    _, after = run(tmp_path / "second", tmp_path / "cache")
    assert len(asked.contexts) == 8
    assert after == before


class Streamed(SFTTrainer):
    """Whose rows cannot be read ahead."""

    def __init__(self, *args, train_dataset, **kwargs):
        super().__init__(*args, train_dataset=datasets.Dataset.to_iterable_dataset(train_dataset), **kwargs)


def test_a_stream_is_asked_about_at_first_sight(tmp_path, asked):
    _, known = run(tmp_path / "known", tmp_path / "other")
    asked.contexts.clear()
    _, gated = run(tmp_path / "stream", tmp_path / "cache", trainer_class=Streamed)
    assert len(asked.contexts) == len(set(asked.contexts)) == 8
    assert {row["sequence"]: row["score"] for row in gated} == pytest.approx(
        {row["sequence"]: row["score"] for row in known}, abs=1e-5
    )
    asked.contexts.clear()
    decoders = Decoders()
    run(tmp_path / "again", tmp_path / "cache", trainer_class=Streamed, adapter=False, watching=[decoders])
    assert not asked.contexts
    assert decoders.more == {2}


@pytest.mark.parametrize("replaced", [False, True])
def test_what_was_let_go_of_is_loaded_for_a_request_that_nobody_foresaw(tmp_path, replaced):
    path = save_model(tmp_path / "aligned", tiny_llama())
    model = AutoModelForCausalLM.from_pretrained(path)
    criterion = RefusalCriterion(Openings(((5,), (20,))), 0.0)
    given = {"refusals": criterion, "asks_logits": False}
    model_parts, settings = model_parts_of(model), PACTConfig().reference
    reference = FrozenCopyReference(
        ReferenceContext(model_parts, settings, torch.tensor([5]), False, nullcontext, **given)
    )
    question = ([[7, 8, 9]], criterion, AutocastState("cpu", False, torch.bfloat16))
    before = reference.refusal_mass(*question)
    reference.release()
    reference.fill()
    assert reference.online() is None
    with torch.no_grad():
        model.lm_head.weight.mul_(2)
    if not replaced:
        torch.testing.assert_close(reference.refusal_mass(*question), before)
        return
    save_model(tmp_path / "aligned", tiny_llama(1))
    with pytest.raises(ConfigurationError, match="not the one that training began with"):
        reference.refusal_mass(*question)


def test_what_is_kept_is_listed_and_cleared(tmp_path):
    run(tmp_path / "run", tmp_path / "cache", max_steps=1)
    (listed,) = list_stores(tmp_path / "cache")
    assert (listed.holds, listed.entries, listed.precision) == ("refusal masses", 8, "float32")
    where = ["--cache-path", str(tmp_path / "cache")]
    assert "1 stores" in CliRunner().invoke(cache, ["info", *where], catch_exceptions=False).output
    CliRunner().invoke(cache, ["clear", listed.path.name, "--yes", *where], catch_exceptions=False)
    assert not list_stores(tmp_path / "cache")


def test_a_term_beside_the_gate_is_asked_for_logits_alone(tmp_path, asked):
    run(tmp_path / "run", tmp_path / "cache", {"term": {"objective": "match"}}, max_steps=2)
    assert len(asked.contexts) == 8
    assert asked.rows == 2


def test_the_cache_of_a_gate_alone_computes_no_logits(tmp_path, asked):
    run(tmp_path / "run", tmp_path / "cache", {"reference": {"kind": "cache"}}, adapter=False)
    assert len(asked.contexts) == 8
    assert asked.rows == 0
    assert not list((tmp_path / "cache" / "reference").rglob("*.safetensors"))
