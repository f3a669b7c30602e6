"""The record belongs to weights: whatever trained, moved or replaced them outside of a protected step is said."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, TrainerCallback

from pact_plugins import PACTConfig
from pact_plugins.model_card.writing import write_card
from pact_plugins.verification import verify
from tests.helpers.tiny import save_model, tiny_llama
from tests.helpers.trainers import ADAPTERS, RecordingTrainer, pact, sft_trainer

pytestmark = pytest.mark.framework
SAVING = {"save_strategy": "steps", "save_steps": 2, "lr_scheduler_type": "constant"}


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("aligned"), tiny_llama())


def trainer(folder, model_path, *, kind="lora", callbacks=(), **settings):
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    return sft_trainer(folder, model=model, adapter=ADAPTERS[kind](), callbacks=list(callbacks), **settings)


def trained(folder, model_path, *, save=True, resume=None, **settings):
    made = trainer(folder, model_path, **{"callbacks": [pact()], **settings})
    made.train(resume_from_checkpoint=resume)
    if save:
        made.save_model()
    return made


@pytest.fixture(scope="module", params=ADAPTERS)
def protected(request, tmp_path_factory, model_path):
    """Four steps, saved; never written to again."""
    folder = tmp_path_factory.mktemp("protected") / "out"
    trained(folder, model_path, kind=request.param, max_steps=4, **SAVING)
    return request.param, folder


@pytest.fixture
def out(protected, tmp_path):
    return shutil.copytree(protected[1], tmp_path / "out")


def problems(folder):
    return " | ".join(verify(folder).problems)


def test_a_protected_run_is_a_chain_from_the_aligned_model_to_its_files(out):
    found = verify(out)
    assert (found.problems, found.weights) == ([], str(out))
    (segment,) = json.loads((out / "pact.json").read_text())["segments"]
    assert segment["started_from"] is None
    assert segment["unchecked_moves"] == 0
    assert segment["settings"] == {**PACTConfig(preset="match").model_dump(mode="json"), "left_out": []}


def test_a_plain_run_into_the_same_folder_is_found(protected, out, model_path):
    trained(out, model_path, kind=protected[0], callbacks=[], max_steps=4, learning_rate=3e-2)
    assert "are not those that the run ended with" in problems(out)
    assert not write_card(out).is_protected
    assert "**Not protected throughout**" in (out / "README.md").read_text()


def test_a_run_that_is_resumed_plainly_is_found(protected, out, model_path):
    shutil.rmtree(out / "checkpoint-4")
    trained(out, model_path, kind=protected[0], callbacks=[], max_steps=6, resume=str(out / "checkpoint-2"))
    assert "are not those that the run ended with" in problems(out)


def test_a_run_with_pact_off_is_found(protected, out, model_path):
    off = pact({"preset": "off"})
    trained(out, model_path, kind=protected[0], callbacks=[off], max_steps=4, learning_rate=3e-2)
    assert "are not those that the run ended with" in problems(out)


def test_one_changed_weight_is_found(out):
    (file,) = out.glob("*model.safetensors")
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[0] += 1e-3
    save_file(tensors, file)
    assert "are not those that the run ended with" in problems(out)
    file.write_bytes(file.read_bytes()[:-1])
    assert "cannot be read" in problems(out)
    file.unlink()
    for checkpoint in out.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    assert "there are no weights" in problems(out)


def test_weights_elsewhere_are_compared_with_the_run(out, model_path, tmp_path):
    (file,) = out.glob("*model.safetensors")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(file, tmp_path / "elsewhere")
    assert verify(tmp_path / "elsewhere", run=out).is_protected
    assert "no run under PACT" in problems(tmp_path / "elsewhere")


@pytest.mark.parametrize("weight", [1e-9, 1.0])
def test_segments_of_other_settings_are_found(protected, out, model_path, weight, caplog):
    kind, folder = protected[0], out.parent / "two"
    weak, strong = ({"preset": "match", "term": {"weight": value}} for value in (weight, 2.0))
    trained(folder, model_path, kind=kind, save=False, callbacks=[pact(weak)], max_steps=2, **SAVING)
    with caplog.at_level("WARNING"):
        trained(folder, model_path, kind=kind, callbacks=[pact(strong)], max_steps=4, resume=True, **SAVING)
    assert f"had other settings than steps 1 to 2: term.weight: {weight} became 2.0" in problems(folder)
    assert "`pact verify` will say so: term.weight" in caplog.text


def test_another_checkpoint_in_between_is_found(protected, out, model_path):
    checkpoint = out / "checkpoint-2"
    (file,) = checkpoint.glob("*model.safetensors")
    save_file({name: value * 1.01 for name, value in load_file(file).items()}, file)
    trained(out, model_path, kind=protected[0], max_steps=4, resume=str(checkpoint), **SAVING)
    assert "did not begin with the weights that steps 1 to 2 ended with" in problems(out)


def test_the_configuration_cannot_be_exchanged():
    callback = pact()
    with pytest.raises(AttributeError):
        callback.config = PACTConfig(preset="published")
    with pytest.raises(ValueError, match="frozen"):
        callback.config.preset = "published"


class Meddling(TrainerCallback):
    """Does something to weights or gradients at one moment of step 2."""

    def __init__(self, moment, act):
        self.moment, self.act = moment, act

    def __getattribute__(self, name):
        if name == object.__getattribute__(self, "moment"):
            return object.__getattribute__(self, "meddle")
        return object.__getattribute__(self, name)

    def meddle(self, args, state, control, model=None, **kwargs):
        if state.global_step == 1:
            self.act([parameter for parameter in model.parameters() if parameter.requires_grad])


def set_weights(parameters):
    with torch.no_grad():
        parameters[0].add_(0.01)


def change_gradients(parameters):
    for parameter in parameters:
        parameter.grad.mul_(-2)


class SecondBackward(RecordingTrainer):
    """Moves what the optimizer takes after the gradient was checked."""

    def create_optimizer(self, *args, **kwargs):
        optimizer = super().create_optimizer(*args, **kwargs)
        step, model, rows = optimizer.step, self.model, self.train_dataset

        def again(*a, **k):
            ids = torch.tensor([rows[0]["input_ids"]])
            model(input_ids=ids).logits.logsumexp(-1).sum().backward()
            return step(*a, **k)

        optimizer.step = again
        return optimizer


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"callbacks": [Meddling("on_step_begin", set_weights)]}, "weights were changed between two"),
        ({"callbacks": [Meddling("on_step_end", set_weights)]}, "weights were changed between two"),
        ({"callbacks": [Meddling("on_pre_optimizer_step", change_gradients)]}, "gradient was changed after"),
        ({"trainer_class": SecondBackward}, "optimizer computes a loss of its own"),
    ],
    ids=["weights before a step", "weights after a step", "gradients", "optimizer that recomputes"],
)
def test_what_moves_weights_outside_of_checked_steps_is_found(tmp_path, model_path, settings, what, caplog):
    callbacks = [pact(), *settings.pop("callbacks", [])]
    with caplog.at_level("WARNING"):
        trained(tmp_path, model_path, kind="lora", callbacks=callbacks, max_steps=3, **settings)
    assert what in caplog.text
    assert "times outside of a step that was checked" in problems(tmp_path)


@pytest.mark.parametrize("settings", [{"max_grad_norm": 1.0}, {"bf16": True}, {"gradient_accumulation_steps": 2}])
@pytest.mark.parametrize("optimizer", ["adamw_torch", "sgd", "adafactor"])
def test_ordinary_steps_are_no_moves(tmp_path, model_path, settings, optimizer):
    trained(tmp_path, model_path, kind="full", max_steps=3, optim=optimizer, weight_decay=0.1, **settings)
    assert verify(tmp_path).problems == []


def test_the_best_checkpoint_is_a_link_of_the_chain(tmp_path, model_path):
    from tests.helpers.trainers import rows

    trained(
        tmp_path,
        model_path,
        max_steps=4,
        greater_is_better=True,
        eval_rows=rows(4, seed=9),
        eval_strategy="steps",
        eval_steps=2,
        load_best_model_at_end=True,
        **SAVING,
    )
    state = json.loads((tmp_path / "checkpoint-4" / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"].endswith("checkpoint-2")
    assert verify(tmp_path).problems == []


def test_a_checkpoint_that_somebody_else_asks_for_is_a_link_too(tmp_path, model_path):
    class Save(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_save = state.global_step == 1

    for resume, steps in ((None, 1), (str(tmp_path / "checkpoint-1"), 2)):
        trained(tmp_path, model_path, callbacks=[pact(), Save()], max_steps=steps, resume=resume)
    found = verify(tmp_path)
    assert (found.problems, len(found.segments)) == ([], 2)


def test_training_that_hides_its_labels_is_not_protected(tmp_path, model_path):
    class OwnLoss(RecordingTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
            labels = inputs["labels"]
            hidden = {**inputs, "labels": torch.full_like(labels, -100)}
            logits = self.model.get_base_model()(input_ids=hidden["input_ids"]).logits
            model(**hidden)
            loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
            return (loss, None) if return_outputs else loss

    trained(tmp_path, model_path, trainer_class=OwnLoss, max_steps=2)
    assert "nothing was added to the loss of steps 1 to 2" in problems(tmp_path)
