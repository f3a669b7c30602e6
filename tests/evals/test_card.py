"""``pact card``: a real run and a real evaluation beside it; what it refuses to claim."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from click.testing import CliRunner
from huggingface_hub import ModelCard
from peft import PeftModel
from transformers import AutoModelForCausalLM

from pact_evals.card_command import card_command
from pact_plugins.errors import PACTError
from pact_plugins.model_card.writing import BEGIN
from pact_plugins.verification import verify
from tests.evals.test_checking import run as evaluated
from tests.helpers import tiny
from tests.helpers.tiny import tiny_llama
from tests.helpers.trainers import lora, pact, sft_trainer

pytestmark = pytest.mark.framework


def card(*arguments):
    return CliRunner().invoke(card_command, [str(argument) for argument in arguments])


def text_of(folder):
    text = ModelCard.load(folder / "README.md").text
    assert text.count(BEGIN) == 1
    return text


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card") / "out"
    model = AutoModelForCausalLM.from_pretrained(tiny.save_model(folder.parent / "aligned", tiny_llama()))
    saving = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    trainer = sft_trainer(folder, model=model, adapter=lora(), callbacks=[pact()], **saving)
    trainer.train()
    trainer.save_model()
    return folder


@pytest.fixture
def out(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "out")


def placed(run, label, folder):
    """As if ``label`` had been evaluated from ``folder``."""
    from pact_evals.runs.models import folder_fingerprint

    (file,) = (run / label).glob("results_*.json")
    content = json.loads(file.read_text())
    identity = {"model": "org/base", "adapter": str(folder), "backend": "hf"}
    content["pact"]["identity"] = {**identity, "adapter_weights": folder_fingerprint(folder)}
    file.write_text(json.dumps(content))


def test_the_card_is_written_again(out):
    before = (out / "README.md").read_text()
    (out / "README.md").unlink()
    done = card(out)
    assert done.exit_code == 0, done.output
    assert "protected throughout: 2 of 2 optimizer steps" in done.output
    section = before.partition(BEGIN)[2]
    assert (out / "README.md").read_text().partition(BEGIN)[2].strip() == section.strip()
    once = (out / "README.md").read_text()
    card(out)
    assert (out / "README.md").read_text() == once


def test_it_holds_what_was_evaluated(out, tmp_path):
    run = evaluated(tmp_path / "eval", aligned=(20, 40), tuned=(22, 41))
    placed(run, "tuned", out)
    assert card(out, "--evaluation", run).exit_code == 0
    text = text_of(out)
    assert "Evaluation of `tuned` beside `aligned`. **Refusals kept.**" in text
    assert "| pact_refusal | compliance ↓ | 400 | 5.0 % [3.3, 7.6] | 5.5 % [3.7, 8.2] | +0.5 [" in text
    assert str(tmp_path) not in text
    # It stays: with the next section, and the evaluation is not of another model for it.
    assert card(out).exit_code == 0
    assert text_of(out) == text
    assert card(out, "--evaluation", run).exit_code == 0


def test_beside_the_model_it_is_found(out, tmp_path):
    run = evaluated(tmp_path / "eval", before=(20, 40), trained=(120, 40))
    placed(run, "trained", out)
    shutil.move(run, out / "pact_eval")
    assert card(out).exit_code == 0
    assert "**Refusals lost.**" in text_of(out)


def test_a_partial_evaluation_is_called_partial(out, tmp_path):
    run = evaluated(tmp_path / "eval", limit=24, total=24, aligned=(0, 0), tuned=(0, 0))
    assert card(out, "--evaluation", run, "--model", "tuned").exit_code == 0
    text = text_of(out)
    assert "**Could not tell whether the refusals were kept.**" in text
    assert "**tuned is a partial evaluation: the first 24 rows of each task (--limit).**" in text
    assert "model-index" not in (out / "README.md").read_text()


def test_an_evaluation_of_another_training_is_left_out(out, tmp_path):
    run = evaluated(tmp_path / "eval", aligned=(20, 40), tuned=(20, 40))
    card(out, "--evaluation", run, "--model", "tuned")
    record = json.loads((out / "pact.json").read_text())
    record["gradient_receipts"] += 1
    (out / "pact.json").write_text(json.dumps(record))
    assert card(out).exit_code == 0
    assert "Evaluation" not in text_of(out)


def test_what_it_does_not_know_is_named(out, tmp_path):
    run = evaluated(tmp_path / "eval", aligned=(20, 40), tuned=(20, 40))
    for arguments, message in (
        ((tmp_path,), "holds no pact.json"),
        ((out, "--evaluation", run), "none of the models evaluated .aligned, tuned. lie in"),
        ((out, "--evaluation", run, "--model", "x"), "no model 'x'"),
        ((out, "--evaluation", out), "is no run folder"),
    ):
        before = (out / "README.md").read_text()
        done = card(*arguments)
        assert isinstance(done.exception, PACTError)
        assert pytest.raises(PACTError, match=message).matches(done.exception)
        assert (out / "README.md").read_text() == before
    placed(run, "tuned", out)
    (out / "adapter_config.json").touch()
    assert "has changed since tuned was evaluated" in str(card(out, "--evaluation", run).exception)
    assert "--evaluation" in card(out, "--model", "tuned").output
    (out / "README.md").write_text(f"{BEGIN}\n")
    assert "does not begin and end once" in str(card(out).exception)


def test_a_run_with_a_gap_is_not_carded_as_protected(out, tmp_path):
    record = json.loads((out / "pact.json").read_text())
    record["segments"][0]["first_step"] = 2
    (out / "pact.json").write_text(json.dumps(record))
    done = card(out)
    assert done.exit_code == 1
    assert "NOT PROTECTED THROUGHOUT: 1 of 2" in done.output
    assert "**Not protected throughout**: 1 of 2 optimizer steps" in text_of(out)
    assert "steps 1 of 2 were trained without PACT" in text_of(out)
    merged = tmp_path / "merged"
    merged.mkdir()
    assert card(merged, "--run", out).exit_code == 1
    assert "**Not protected throughout**" in text_of(merged)
    assert not (merged / "pact.json").exists()


def merge(out, merged, dtype):
    model = PeftModel.from_pretrained(tiny_llama().to(dtype), out).merge_and_unload()
    model.save_pretrained(merged)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_merged_model_takes_the_record_along(out, tmp_path, dtype):
    merged = tmp_path / "merged"
    model = merge(out, merged, dtype)
    assert card(merged, "--run", out).exit_code == 0
    assert "**Protected throughout**: 2 of 2" in text_of(merged)
    assert verify(merged).is_protected
    assert card(merged).exit_code == 0
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] += 1
    model.save_pretrained(merged)
    assert "are not those that the run ended with" in verify(merged).problems[0]
    assert card(merged).exit_code == card(merged, "--run", out).exit_code == 1
    assert "**Not protected throughout**" in text_of(merged)


def test_a_model_that_was_not_made_from_the_run_is_not_carded_as_such(out, tmp_path, caplog):
    other = tmp_path / "other"
    tiny_llama().save_pretrained(other)
    with caplog.at_level("INFO", logger="pact_plugins"):
        assert card(other, "--run", out).exit_code == 1
    assert "would make of it" in caplog.text
    assert not (other / "pact.json").exists()
