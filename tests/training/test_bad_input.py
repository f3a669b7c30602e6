"""Whatever is wrong is said before the first step, in words that name it."""

from __future__ import annotations

import os

import pytest
import torch
import trl
from peft import PromptTuningConfig, get_peft_model
from tokenizers import Tokenizer, models
from transformers import (
    AutoModel,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BartConfig,
    DataCollatorWithFlattening,
    PreTrainedTokenizerFast,
    T5Config,
    TrainerState,
)

from pact_plugins import PACTCallback, PACTConfig, SafetyTokens
from pact_plugins.errors import AttachmentError, ConfigurationError, PACTError, SafetyTokensError
from pact_plugins.training.preparation import Run, prepare
from tests.helpers import matrix
from tests.helpers.plain_trainer import rows_of, trainer_of
from tests.helpers.tiny import llama_config, save_model, tiny_llama, tiny_safety_tokens, tiny_tokenizer
from tests.helpers.trainers import RecordingTrainer, lora, move_weights, pact, sft_trainer

pytestmark = pytest.mark.framework


def refused(trainer, error, message):
    """Training fails with the message, before any micro-batch, and leaves neither hooks nor files."""
    with pytest.raises(error, match=message):
        trainer.train()
    assert trainer.micro_batches == []
    assert not any(module._forward_hooks for module in trainer.model.modules())
    folder = trainer.args.output_dir
    assert not [name for name in (os.listdir(folder) if os.path.isdir(folder) else ()) if "pact" in name]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"term": {"wieght": 1}}, "term.wieght: unknown key; did you mean 'weight'"),
        ({"preset": "match", "term": {"weight": -1}}, "term.weight"),
        ({"term": {"objective": "unknown"}}, "unknown objective 'unknown'; available: match"),
    ],
)
def test_settings_are_checked_when_the_callback_is_made(config, message):
    with pytest.raises(ConfigurationError, match=message):
        PACTCallback(config)


def test_missing_token_file(tmp_path):
    callback = PACTCallback({"safety_tokens": {"file": str(tmp_path / "nowhere.safetensors")}})
    refused(sft_trainer(tmp_path, callbacks=[callback]), SafetyTokensError, "no such file: .*nowhere")


def test_tokens_of_another_tokenizer(tmp_path):
    other = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({f"t{n}": n for n in range(360)}, unk_token="t0"))
    )
    path = SafetyTokens.random(other, 368, count=10, seed=0).save(tmp_path / "tokens.safetensors")
    for callback in (PACTCallback({"safety_tokens": {"file": str(path)}}), pact(safety_tokens=SafetyTokens.load(path))):
        trainer = sft_trainer(tmp_path / "run", callbacks=[callback])
        refused(trainer, SafetyTokensError, "belongs to another tokenizer")


def test_empty_set_of_refusals(tmp_path):
    path = tmp_path / "refusals.jsonl"
    path.write_text('{"prompt": "x", "response": " "}\n')
    trainer = sft_trainer(tmp_path / "run", callbacks=[PACTCallback({"safety_tokens": {"refusals_path": str(path)}})])
    refused(trainer, SafetyTokensError, "every response in .*refusals.jsonl is empty")


@pytest.mark.parametrize("objective", ["published", "published_positive"])
def test_tokens_without_a_positive_weight(tmp_path, objective):
    tokens = tiny_safety_tokens()
    tokens.direction.copy_(-tokens.direction.abs())
    trainer = sft_trainer(tmp_path, callbacks=[pact({"term": {"objective": objective}}, safety_tokens=tokens)])
    refused(trainer, ConfigurationError, "term: it needs safety tokens of positive weight")


def test_adapter_off_without_an_adapter(tmp_path):
    trainer = sft_trainer(tmp_path, callbacks=[pact({"reference": {"kind": "adapter_off"}})])
    refused(trainer, ConfigurationError, "adapter_off needs a PEFT adapter.*frozen_copy")


@pytest.mark.parametrize("reference", ["auto", "adapter_off"])
def test_an_adapter_that_already_holds_weights(tmp_path, reference):
    model = get_peft_model(tiny_llama(), lora())
    move_weights(model)
    trainer = sft_trainer(tmp_path, model=model, callbacks=[pact({"reference": {"kind": reference}})])
    refused(trainer, ConfigurationError, "needs a fresh adapter.*reference.path")


def test_an_adapter_that_already_holds_weights_with_a_reference_of_its_own(tmp_path):
    path = save_model(tmp_path / "aligned", tiny_llama())
    for config in ({"reference": {"path": path}}, {"reference": {"kind": "frozen_copy"}}):
        model = get_peft_model(tiny_llama(), lora())
        move_weights(model)
        trainer = sft_trainer(tmp_path / "run", model=model, callbacks=[pact(config)])
        trainer.train()
        # The path is the model without the adapter, the copy the model as it is.
        assert (trainer.state.log_history[0]["pact/kl"] > 1e-3) == ("path" in config["reference"])


@pytest.mark.parametrize("initialisation", matrix.rows(["pissa", "pissa_niter_4", "olora"], always=["pissa", "olora"]))
def test_initialisations_that_rewrite_the_base(tmp_path, initialisation):
    trainer = sft_trainer(tmp_path, adapter=lora(init_lora_weights=initialisation), callbacks=[pact()])
    refused(trainer, ConfigurationError, f"init_lora_weights='{initialisation}'.*reference.path")


def test_repeated_layers(tmp_path):
    """Switched off, the adapter leaves the repeated ones there."""
    trainer = sft_trainer(tmp_path, adapter=lora(layer_replication=[[0, 2], [1, 2]]), callbacks=[pact()])
    refused(trainer, ConfigurationError, "layer_replication of adapter 'default' repeats layers.*reference.path")


def test_rewriting_initialisations_are_refused_before_calibrating_too(tmp_path, refusals_path):
    callback = PACTCallback(
        {"safety_tokens": {"refusals_path": str(refusals_path)}, "reference": {"kind": "frozen_copy"}}
    )
    trainer = sft_trainer(tmp_path / "run", adapter=lora(init_lora_weights="pissa"), callbacks=[callback])
    refused(trainer, ConfigurationError, "rewrites the base weights")


def test_a_merged_adapter(tmp_path):
    model = get_peft_model(tiny_llama(), lora())
    model.merge_adapter()
    trainer = sft_trainer(tmp_path, model=model, callbacks=[pact()])
    refused(trainer, ConfigurationError, "merged into the base weights")


def test_label_smoothing(tmp_path):
    trainer = sft_trainer(tmp_path, callbacks=[pact()], label_smoothing_factor=0.1)
    refused(trainer, ConfigurationError, r"label_smoothing_factor > 0.*PACTCallback\(config, trainer=trainer\)")


def test_dft(tmp_path):
    trainer = sft_trainer(tmp_path, callbacks=[pact()], loss_type="dft")
    refused(trainer, ConfigurationError, "loss_type='dft'")


def test_no_chat_template(tmp_path, refusals_path):
    for config in ({"safety_tokens": {"refusals_path": str(refusals_path)}}, {"preset": "published"}):
        tokens = None if "safety_tokens" in config else tiny_safety_tokens()
        with pytest.raises(ConfigurationError, match="has no chat template"):
            prepare(tiny_llama(), tiny_tokenizer(None), PACTConfig(**config), Run(safety_tokens=tokens))


def test_published_without_a_generation_prompt():
    template = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    config = PACTConfig(preset="match", term={"objective": "published"})
    with pytest.raises(ConfigurationError, match=r"set reference\.assistant_header"):
        prepare(tiny_llama(), tiny_tokenizer(template), config, Run(safety_tokens=tiny_safety_tokens()))
    prepare(
        tiny_llama(),
        tiny_tokenizer(template),
        PACTConfig(preset="published", reference={"assistant_header": "<|assistant|>"}),
        Run(safety_tokens=tiny_safety_tokens()),
    )


def test_no_tokenizer():
    with pytest.raises(ConfigurationError, match="no tokenizer"):
        prepare(tiny_llama(), None, PACTConfig(), Run(safety_tokens=tiny_safety_tokens()))


@pytest.mark.parametrize("auto", [AutoModel, AutoModelForSequenceClassification])
def test_models_without_an_output_embedding(tokenizer, auto):
    with pytest.raises(AttachmentError, match="has no output embedding"):
        prepare(auto.from_config(llama_config()), tokenizer, PACTConfig(), Run(safety_tokens=tiny_safety_tokens()))


@pytest.mark.parametrize("kind", [BartConfig, T5Config])
def test_encoder_decoders(tokenizer, kind):
    sizes = {"d_model": 16, "vocab_size": 368, "num_layers": 1, "encoder_layers": 1, "decoder_layers": 1}
    model = AutoModelForSeq2SeqLM.from_config(kind(**sizes))
    with pytest.raises(AttachmentError, match="is an encoder-decoder"):
        prepare(model, tokenizer, PACTConfig(), Run(safety_tokens=tiny_safety_tokens()))


@pytest.mark.parametrize("name", ["DPOConfig", "GRPOConfig", "RewardConfig"])
def test_trainers_of_another_kind(tmp_path, name):
    settings = getattr(trl, name)(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[])
    with pytest.raises(ConfigurationError, match=f"{name} belongs to a trainer that does not simply learn responses"):
        pact().on_train_begin(settings, TrainerState(), None, model=tiny_llama(), processing_class=tiny_tokenizer())


def test_prompt_tuning(tmp_path):
    adapter = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    trainer = sft_trainer(tmp_path, adapter=adapter, callbacks=[pact()])
    refused(trainer, AttachmentError, "virtual tokens")


@pytest.mark.parametrize("vocabulary", [40, 100])
def test_a_tokenizer_larger_than_the_model(tokenizer, vocabulary, refusals_path):
    """Whether or not the safety tokens themselves fit."""
    fitting = SafetyTokens.random(tokenizer, vocabulary, count=5, seed=0)
    for tokens in (tiny_safety_tokens(), fitting, None):
        with pytest.raises(PACTError, match=rf"{vocabulary} rows.*resize_token_embeddings"):
            prepare(
                tiny_llama(vocab_size=vocabulary),
                tokenizer,
                PACTConfig(safety_tokens={"refusals_path": str(refusals_path)}),
                Run(safety_tokens=tokens),
            )


def test_a_reference_that_does_not_exist(tmp_path):
    trainer = sft_trainer(tmp_path, callbacks=[pact({"reference": {"path": str(tmp_path / "nowhere")}})])
    refused(trainer, ConfigurationError, "reference.path: .*nowhere cannot be loaded")


def test_a_reference_of_another_vocabulary(tmp_path):
    small = save_model(tmp_path / "small", tiny_llama(vocab_size=24))
    trainer = sft_trainer(tmp_path / "run", callbacks=[pact({"reference": {"path": small}})])
    refused(trainer, ConfigurationError, "has 24 output tokens, but safety token")
    other = save_model(tmp_path / "other", tiny_llama(vocab_size=376))
    trainer = sft_trainer(
        tmp_path / "run",
        callbacks=[PACTCallback({"preset": "match", "term": {"objective": "full_kl"}, "reference": {"path": other}})],
    )
    refused(trainer, ConfigurationError, "376 output tokens and the trained model 368")


def test_a_replaced_decoder_is_an_attachment_error(tmp_path):
    class Replaced(RecordingTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            # Calling forward itself goes round the decoder's hooks, as some kernels do.
            inner, own = model.model, model.model.forward
            type(inner).__call__, original = (lambda self, *a, **k: own(*a, **k)), torch.nn.Module.__call__
            try:
                return super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
            finally:
                type(inner).__call__ = original

    trainer = sft_trainer(tmp_path, callbacks=[pact()], trainer_class=Replaced)
    with pytest.raises(AttachmentError, match="did not go through its decoder"):
        trainer.train()
    assert trainer.state.global_step == 0
    assert not any(module._forward_hooks for module in trainer.model.modules())


def test_noise_on_the_embeddings(tmp_path):
    """The term of an untouched model would not be zero under it."""
    for adapter in (lora(), None):
        trainer = sft_trainer(tmp_path, adapter=adapter, callbacks=[pact()], neftune_noise_alpha=5.0)
        with pytest.raises(ConfigurationError, match="neftune_noise_alpha puts noise on the model's embeddings"):
            trainer.train()
        assert trainer.micro_batches == []


def test_a_cache_that_lets_flattened_rows_see_one_another(tmp_path):
    rows = rows_of((3, 5))
    trainer, _ = trainer_of(tmp_path, tiny_llama(), rows, {}, per_device_train_batch_size=2)
    trainer.data_collator = DataCollatorWithFlattening()
    trainer.model.config.use_cache = True
    with pytest.raises(AttachmentError, match="use_cache: true hides"):
        trainer.train()
