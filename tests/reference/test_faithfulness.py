"""The reference is the aligned model, whatever trains beside an adapter, and stays it."""

from __future__ import annotations

import pytest
import torch
from peft import IA3Config, LoraConfig, VeraConfig, get_peft_model
from transformers import TrainerCallback

from pact_plugins.errors import ConfigurationError, UnprotectedTrainingError
from pact_plugins.modeling import model_parts_of
from pact_plugins.reference.faithfulness import left_when_off
from pact_plugins.settings import merged
from tests.helpers import naive
from tests.helpers.tiny import tiny_llama, tiny_safety_tokens
from tests.helpers.trainers import Watch, lora, pact, sft_trainer


def biased():
    return tiny_llama(attention_bias=True, mlp_bias=True)


def with_more_trained(*names, **settings):
    """LoRA, and base parameters made trainable beside it."""

    def make():
        torch.manual_seed(5)
        model = get_peft_model(tiny_llama(**settings), lora())
        for name, parameter in model.named_parameters():
            if any(part in name for part in names):
                parameter.requires_grad_(True)
        return model

    return make


def with_adapter(adapter, make_model=tiny_llama):
    def make():
        torch.manual_seed(5)
        return get_peft_model(make_model(), adapter)

    return make


# What trains and is still there when the adapter is off.
LEFT = {
    "bias all": (with_adapter(lora(bias="all"), biased), biased, "bias"),
    "bias lora_only": (with_adapter(lora(bias="lora_only"), biased), biased, "bias"),
    "norms": (with_more_trained("norm"), tiny_llama, "norm"),
    "embeddings": (with_more_trained("embed_tokens"), tiny_llama, "embed_tokens"),
    "output embedding": (with_more_trained("lm_head"), tiny_llama, "lm_head"),
}
SWITCHED = {
    "lora": with_adapter(lora()),
    "dora": with_adapter(lora(use_dora=True)),
    "saved head": with_adapter(lora(modules_to_save=["lm_head"])),
    "saved embedding": with_adapter(lora(modules_to_save=["embed_tokens"])),
    "trainable tokens": with_adapter(lora(trainable_token_indices=[3, 4])),
    "ia3": with_adapter(
        IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])
    ),
    "vera": with_adapter(VeraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "o_proj"])),
    "biases of another adapter": with_adapter(LoraConfig(r=2, target_modules=["q_proj"], bias="none"), biased),
}


@pytest.mark.parametrize("kind", LEFT)
def test_what_is_left_is_named(kind):
    make, _, part = LEFT[kind]
    left = left_when_off(model_parts_of(make()))
    assert left
    assert all(part in name for name in left)


@pytest.mark.parametrize("kind", SWITCHED)
def test_what_an_adapter_replaces_is_not_left(kind):
    model = SWITCHED[kind]()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    assert left_when_off(model_parts_of(model)) == []
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


@pytest.mark.parametrize("kind", LEFT)
def test_the_switch_alone_is_refused(tmp_path, kind):
    make, _, part = LEFT[kind]
    trainer = sft_trainer(tmp_path, model=make(), callbacks=[pact({"reference": {"kind": "adapter_off"}})])
    with pytest.raises(ConfigurationError, match=rf"adapter_off would hold training to a model that moves: .*{part}"):
        trainer.train()


@pytest.mark.framework
@pytest.mark.parametrize("config", [{}, {"reference": {"kind": "cache"}}], ids=["auto", "cache"])
@pytest.mark.parametrize("kind", LEFT)
def test_the_term_is_held_to_the_aligned_model(tmp_path, kind, config):
    """With weights that have moved, the gradient is that of plain autograd against a copy of the aligned model."""
    make, make_reference, _ = LEFT[kind]
    watch = Watch(move=True)
    callback = pact(merged(config, {"reference": {"cache_path": str(tmp_path / "cache")}}))
    trainer = sft_trainer(tmp_path, model=make(), callbacks=[callback, watch])
    trainer.train()
    tokens = tiny_safety_tokens()
    trained = make()
    own = dict(trained.named_parameters())
    with torch.no_grad():
        for name, value in watch.weights[0].items():
            own[name].copy_(value)
    _, term, gradients = naive.step(
        trained.eval(),
        make_reference(),
        trainer.micro_batches,
        objective="match",
        weight=2.0,
        token_ids=tokens.token_ids,
        weights=tokens.weights,
        header=[],
    )
    assert term > 1e-3
    # The cache keeps sixteen bits a logit.
    tolerance = 1e-5 if not config else 2e-3
    assert watch.losses[0]["pact/kl"] == pytest.approx(float(term), rel=max(1e-4, tolerance))
    assert watch.gradients[0].keys() == gradients.keys()
    for name, gradient in gradients.items():
        largest = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(
            watch.gradients[0][name], gradient, rtol=tolerance, atol=tolerance * largest, msg=name
        )


class Changes(TrainerCallback):
    """Changes a base weight in mid-run."""

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step == 2:
            with torch.no_grad():
                next(
                    p for name, p in model.named_parameters() if "layers.0.mlp.gate_proj" in name and "lora" not in name
                ).mul_(1.1)


@pytest.mark.framework
@pytest.mark.parametrize("config", [{}, {"reference": {"kind": "cache"}}], ids=["auto", "cache"])
def test_a_base_weight_changed_in_mid_run_stops_it(tmp_path, config):
    settings = merged(config, {"reference": {"check_every": 3, "cache_path": str(tmp_path / "cache")}})
    trainer = sft_trainer(tmp_path, adapter=lora(), callbacks=[pact(settings), Changes()], max_steps=6)
    with pytest.raises(UnprotectedTrainingError, match="no longer the aligned model at step 3"):
        trainer.train()
    assert trainer.state.global_step == 3


@pytest.mark.framework
def test_a_run_that_nobody_disturbs_goes_through(tmp_path):
    config = {"reference": {"check_every": 1}}
    trainer = sft_trainer(tmp_path, adapter=lora(lora_dropout=0.1), callbacks=[pact(config)], max_steps=3)
    trainer.train()
    assert trainer.state.global_step == 3
