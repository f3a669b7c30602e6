"""The forms that TRL's rows have: in every one the same requests are gated, and replies alone are held."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from pact_lab import tiny_world
from pact_plugins import PACTCallback
from pact_plugins.batch.micro_batch import MicroBatch
from pact_plugins.errors import ConfigurationError
from tests.helpers.trainers import RecordingTrainer, Watch

pytestmark = pytest.mark.framework
PROMPTS = Path(__file__).parents[2] / "examples" / "tiny_prompts"
HARMFUL = 16
MIXTURE = tiny_world.finetuning_mixture(64, harmful_fraction=HARMFUL / 64, seed=0)


def messages(row):
    return row.chat["prompt"] + row.chat["completion"]


def rendered(row):
    tokenizer = AutoTokenizer.from_pretrained(tiny_world.aligned_path())
    return tokenizer.apply_chat_template(messages(row), tokenize=False)


FORMS = {
    "lists": lambda row: row.chat,
    "strings": lambda row: {"prompt": row.prompt, "completion": row.response},
    "messages": lambda row: {"messages": messages(row)},
    "text": lambda row: {"text": rendered(row)},
}
LEARNT = {"messages", "text"}  # forms whose prompts TRL trains on


def settings(tmp_path_factory, **more):
    return {
        "safety_tokens": {
            "harmful_prompts_path": str(PROMPTS / "harmful.json"),
            "harmless_prompts_path": str(PROMPTS / "harmless.json"),
        },
        "reference": {"cache_path": str(tmp_path_factory.getbasetemp() / "chat_rows_cache")},
        **more,
    }


def trained(output, rows, config, callbacks=(), **changes):
    from trl import SFTConfig

    defaults = {
        "logging_steps": 1,
        "max_steps": 4,
        "per_device_train_batch_size": 16,
        "report_to": [],
        "save_strategy": "no",
    }
    trainer = RecordingTrainer(
        model=str(tiny_world.aligned_path()),
        args=SFTConfig(output_dir=str(output), **{**defaults, "use_cpu": True, "bf16": False, **changes}),
        train_dataset=Dataset.from_list(rows),
        callbacks=[*([] if config is None else [PACTCallback(config)]), *callbacks],
    )
    trainer.train()
    return trainer


def record_of(output):
    return json.loads((output / "pact.json").read_text())


@pytest.fixture
def held(monkeypatch):
    """The text of every response of every micro-batch."""
    found, tokenizer = [], AutoTokenizer.from_pretrained(tiny_world.aligned_path())
    own = MicroBatch.own.func

    def kept(batch):
        responses = batch.responses
        for index in range(responses.count):
            found.append(tokenizer.decode(responses.token_ids[responses.response_index == index]))
        return own(batch)

    monkeypatch.setattr(MicroBatch.own, "func", kept)
    return found


@pytest.mark.parametrize(
    "changes", [{}, {"packing": True, "max_length": 128, "per_device_train_batch_size": 5}], ids=["padded", "packed"]
)
@pytest.mark.parametrize("form", FORMS)
def test_the_whole_default_protects_rows_of_every_form(tmp_path, tmp_path_factory, held, caplog, form, changes):
    caplog.set_level("INFO", logger="pact_plugins")
    rows = [FORMS[form](row) for row in MIXTURE]
    trainer = trained(tmp_path, rows, settings(tmp_path_factory, anchor={"replies": 4}), **changes)
    record = record_of(tmp_path)
    assert (record["config"]["preset"], record["left_out"]) == ("pact", {})
    assert record["optimizer_steps_protected"] == 4
    refused = [row.response for row in MIXTURE if row.kind == "harmful"]
    gated = [row["text"].strip() for row in record["parts"]["row_gate"]["gated_rows"]]
    assert sorted(text[:100].strip() for text in refused) == sorted(gated)
    replies = {row.response for row in MIXTURE}
    assert {text.removesuffix("<|end|>").strip() for text in held} == replies
    assert {"anchor_kl", "gated_rows"} <= {key.removeprefix("pact/") for key in trainer.state.log_history[0]}
    assert ("are trained on too" in caplog.text) == (form in LEARNT)
    assert ("never saw the chat template" in caplog.text) == (form == "strings")


def test_a_gated_conversation_of_which_all_is_learnt_teaches_nothing(tmp_path, tmp_path_factory):
    gate_alone = settings(tmp_path_factory, preset="off", row_gate={"threshold": 1e-9})
    rows, watch = [FORMS["messages"](row) for row in MIXTURE[:8]], Watch()
    trained(tmp_path, rows, gate_alone, [watch], max_steps=1)
    largest = max(float(gradient.abs().max()) for gradient in watch.gradients[0].values())
    trained(tmp_path / "plain", rows, None, [watch], max_steps=1)
    assert max(float(gradient.abs().max()) for gradient in watch.gradients[1].values()) > 1e-2
    assert largest < 1e-6


def test_of_text_without_turns_term_and_row_gate_are_left_out_by_name_and_the_anchor_stays(
    tmp_path, tmp_path_factory, caplog
):
    rows = [{"text": f"{row.prompt} {row.response}"} for row in MIXTURE[:16]]
    trainer = trained(tmp_path, rows, settings(tmp_path_factory, anchor={"replies": 4}), max_steps=1)
    assert list(record_of(tmp_path)["left_out"]) == ["term", "row_gate"]
    assert "pact/anchor_kl" in trainer.state.log_history[0]
    assert "no turn of the assistant's is to be found, this one for instance:" in caplog.text
    with pytest.raises(ConfigurationError, match="row_gate: the rows hold no request to be judged"):
        trained(tmp_path / "asked", rows, settings(tmp_path_factory, preset="off", row_gate=True), max_steps=1)
