"""The section on PACT in cards that the real SFTTrainer and PEFT write, and write again."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import transformers
from huggingface_hub import HfApi, ModelCard

from pact_plugins.model_card.writing import BEGIN, END
from pact_plugins.verification import verify
from tests.helpers.trainers import lora, pact, sft_trainer

pytestmark = pytest.mark.framework
SAVING = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}


def section(folder):
    text = ModelCard.load(folder / "README.md").text
    assert text.count(BEGIN) == text.count(END) == 1
    return text.partition(BEGIN)[2].partition(END)[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    trainer = sft_trainer(
        tmp_path_factory.mktemp("trl") / "out",
        adapter=lora(),
        callbacks=[pact({"preset": "match", "term": {"weight": 3.0}})],
        **SAVING,
    )
    trainer.train()
    return trainer


def out(trainer):
    return Path(trainer.args.output_dir)


def test_the_card_says_what_protected_the_run(trained):
    text = section(out(trained))
    record = json.loads((out(trained) / "pact.json").read_text())
    assert "**Protected throughout**: 4 of 4 optimizer steps" in text
    assert f"fingerprint `{record['safety_tokens']['fingerprint']}`" in text
    assert "`term.weight: 3.0`" in text
    assert "| preset | `match` |" in text
    assert f"trl {record['versions']['trl']}" in text
    assert f"| {record['drift']['pact/kl']['last']:.4g} |" in text
    assert "2603.07445" in text
    assert "pact" in ModelCard.load(out(trained) / "README.md").data.tags


def test_it_survives_what_trainer_and_peft_do_later(trained, tmp_path):
    before = section(out(trained))
    trained.save_model()
    trained.create_model_card(model_name="again", tags=["mine"])
    trained.model.save_pretrained(out(trained))
    card = ModelCard.load(out(trained) / "README.md")
    assert section(out(trained)) == before
    assert "# Model Card for again" in card.text
    trained.save_model(str(tmp_path / "elsewhere"))
    assert section(tmp_path / "elsewhere") == before
    assert verify(out(trained)).is_protected
    assert verify(tmp_path / "elsewhere").is_protected


def test_it_is_in_what_is_pushed(trained, monkeypatch):
    pushed = []

    def upload_folder(self, *, folder_path, **options):
        pushed.append((ModelCard.load(f"{folder_path}/README.md"), (out(trained) / "pact.json").is_file()))

    def create_repo(self, repo_id, **options):
        return SimpleNamespace(repo_id=repo_id)

    # Older versions of transformers have them as functions.
    for place, first in ((HfApi, ()), (transformers.trainer, (None,))):
        for function in (upload_folder, create_repo):
            monkeypatch.setattr(
                place, function.__name__, partial(function, *first) if first else function, raising=False
            )
    trained.push_to_hub(dataset_name="sums")
    ((card, has_record),) = pushed
    assert "**Protected throughout**: 4 of 4" in card.text
    assert card.data.datasets == "sums"
    assert has_record


def test_a_run_that_has_not_ended_is_not_called_protected(tmp_path):
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == stops_at:
                raise RuntimeError("killed")

    stops_at = None
    trainer = sft_trainer(tmp_path, adapter=lora(), callbacks=[pact(), Stop()], **SAVING)
    trainer.train()
    assert "**Protected throughout**" in section(tmp_path)
    stops_at = 3
    with pytest.raises(RuntimeError, match="killed"):
        trainer.train()
    assert "**Not protected throughout**" in section(tmp_path)
    trainer.save_model()
    assert "**Not protected throughout**" in section(tmp_path)
    assert "pact" not in (ModelCard.load(tmp_path / "README.md").data.tags or [])
    assert not verify(tmp_path).is_protected


def test_training_on_without_the_callback_takes_the_word_back(tmp_path):
    callback = pact()
    trainer = sft_trainer(tmp_path, callbacks=[callback], max_steps=1)
    trainer.train()
    trainer.save_model()
    assert "**Protected throughout**: 1 of 1" in section(tmp_path)
    trainer.remove_callback(callback)
    trainer.train()
    trainer.save_model()
    assert "**Not protected throughout**" in section(tmp_path)
    assert not verify(tmp_path).is_protected


def test_two_trainings_of_one_trainer_write_one_section(tmp_path):
    trainer = sft_trainer(tmp_path, adapter=lora(), callbacks=[pact()], max_steps=1)
    for _ in range(2):
        trainer.train()
    trainer.save_model()
    assert "**Protected throughout**: 2 of 2" in section(tmp_path)
    assert verify(tmp_path).problems == []


def test_a_damaged_card_stops_nothing(tmp_path, caplog):
    (tmp_path / "README.md").write_text(f"---\n[\n---\n{BEGIN}\n")
    trainer = sft_trainer(tmp_path, callbacks=[pact()], max_steps=1)
    with caplog.at_level("INFO", logger="pact_plugins"):
        trainer.train()
    assert (tmp_path / "pact.json").is_file()
    assert "the model card says nothing of this run" in caplog.text
