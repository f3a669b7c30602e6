"""Models of many kinds through ``transformers.Trainer``: the gradient of an accumulated step is autograd's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import Trainer, TrainingArguments

from pact_plugins.errors import AttachmentError, ConfigurationError
from pact_plugins.settings import merged
from tests.helpers import naive
from tests.helpers.tiny import llama_config, tiny_safety_tokens, tiny_tokenizer
from tests.helpers.trainers import Watch, pact

pytestmark = pytest.mark.framework

KL_COEF = 2.0
COMMON: dict[str, Any] = {
    "vocab_size": 368,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "tie_word_embeddings": False,
    # Of the older ones; the comparison runs the model twice.
    **dict.fromkeys(["dropout", "attention_dropout", "hidden_dropout"], 0.0),
    **dict.fromkeys(["attn_pdrop", "embd_pdrop", "resid_pdrop"], 0.0),
}
HEADS: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 48}
LLAMA4: dict[str, Any] = {
    **COMMON,
    **HEADS,
    "intermediate_size_mlp": 64,
    "num_local_experts": 2,
    "interleave_moe_layer_step": 1,
    "attention_chunk_size": 64,
    "max_position_embeddings": 128,
}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
    "vision_output_dim": 32,
    "projector_input_dim": 32,
    "projector_output_dim": 32,
}
ROUTING: dict[str, Any] = {"num_local_experts": 4, "num_experts_per_tok": 2}


class Dropping(transformers.LlamaForCausalLM):
    """As the heads of some architectures and releases do: the mean over the micro-batch, whatever the trainer says."""

    def forward(self, *args: Any, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


def of(name: str, **settings: Any) -> Callable[[], Any]:
    """The causal language model of that name, from its own configuration class."""

    def make() -> Any:
        model_class = getattr(transformers, name)
        return model_class(model_class.config_class(**{**COMMON, **settings}))

    return make


MODELS: dict[str, Callable[[], Any]] = {
    "llama 4, text": lambda: transformers.Llama4ForCausalLM(transformers.Llama4TextConfig(**LLAMA4)),
    "llama 4, images": lambda: transformers.Llama4ForConditionalGeneration(
        transformers.Llama4Config(text_config=LLAMA4, vision_config=VISION, tie_word_embeddings=False)
    ),
    "gemma 3": of("Gemma3ForCausalLM", **HEADS, sliding_window=16),
    "gemma 2": of("Gemma2ForCausalLM", **HEADS, sliding_window=16),
    "qwen 3": of("Qwen3ForCausalLM", **HEADS),
    "mistral": of("MistralForCausalLM", **HEADS),
    "granite": of("GraniteForCausalLM", **HEADS, logits_scaling=4.0),
    "cohere": of("CohereForCausalLM", **HEADS, logit_scale=0.25),
    "phi 3": of("Phi3ForCausalLM", **HEADS),
    "gpt-oss": of("GptOssForCausalLM", **HEADS, **ROUTING),
    "mixtral": of("MixtralForCausalLM", **HEADS, **ROUTING),
    "opt": of("OPTForCausalLM", ffn_dim=48, num_attention_heads=2, word_embed_proj_dim=32),
    "bloom": of("BloomForCausalLM", n_head=2, n_layer=2),
    "mpt": of("MptForCausalLM", d_model=32, n_heads=2, n_layers=2, expansion_ratio=2),
    "gpt-neox": of("GPTNeoXForCausalLM", num_attention_heads=2, intermediate_size=48),
    "gpt-2": of("GPT2LMHeadModel", n_embd=32, n_head=2, n_layer=2),
    "mamba": of("MambaForCausalLM", state_size=4),
    "falcon mamba": of("FalconMambaForCausalLM", state_size=4),
    "mamba 2": of("Mamba2ForCausalLM", state_size=4, num_heads=4, head_dim=16, n_groups=1),
    "lfm 2": of("Lfm2ForCausalLM", **HEADS, layer_types=["conv", "full_attention"]),
    "a head that drops num_items_in_batch": lambda: Dropping(llama_config()),
}
ADDS_MEANS = {"a head that drops num_items_in_batch"}
# PEFT refuses Mamba's other layers, and fails by itself on Llama 4's router.
TARGETS = {name: ["in_proj"] for name in ("mamba", "falcon mamba", "mamba 2")}
TARGETS |= {name: ["q_proj", "down_proj"] for name in ("llama 4, text", "llama 4, images")}
# Only with LoRA: what the decoder reads is made by layers that a frozen copy of it does not hold.
LORA_ONLY = {"llama 4, images"}


def made(name: str) -> Any:
    torch.manual_seed(0)
    model = MODELS[name]().float()
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
    return model.eval()


def dataset(rows: int = 4) -> list[dict[str, list[int]]]:
    """Sequences of uneven length; the labels begin somewhere in the middle."""
    generator = torch.Generator().manual_seed(3)
    found = []
    for number in range(rows):
        length = 9 + 5 * number
        ids = torch.randint(20, 340, (length,), generator=generator).tolist()
        found.append({"input_ids": ids, "labels": [-100] * (3 + number) + ids[3 + number :]})
    return found


def collate(rows: list[dict[str, list[int]]]) -> dict[str, Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)
    padding = [longest - len(row["input_ids"]) for row in rows]
    return {
        "input_ids": torch.tensor([row["input_ids"] + [0] * n for row, n in zip(rows, padding, strict=True)]),
        "labels": torch.tensor([row["labels"] + [-100] * n for row, n in zip(rows, padding, strict=True)]),
        "attention_mask": torch.tensor(
            [[1] * len(row["input_ids"]) + [0] * n for row, n in zip(rows, padding, strict=True)]
        ),
    }


def trained(
    name: str, output: Any, adapter: LoraConfig | None, **pact_settings: Any
) -> tuple[Any, Watch, list[dict[str, Tensor]]]:
    """One step over two micro-batches, from weights that have moved."""
    model = made(name)
    if adapter is not None:
        torch.manual_seed(5)
        model = get_peft_model(model, adapter)
    watch = Watch(move=True)
    settings = TrainingArguments(
        output_dir=str(output),
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        max_steps=1,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        max_grad_norm=0.0,
        logging_steps=1,
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    micro_batches: list[dict[str, Tensor]] = []

    def collated(rows: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        micro_batches.append(collate(rows))
        return micro_batches[-1]

    trainer = Trainer(
        model=model,
        args=settings,
        train_dataset=dataset(),
        data_collator=collated,
        processing_class=tiny_tokenizer(),
        callbacks=[pact(merged({"term": {"weight": KL_COEF}}, pact_settings)), watch],
    )
    trainer.train()
    # Rows that were looked at before training went through the collator as well.
    return trainer, watch, micro_batches[-2:]


def expected(name: str, watch: Watch, micro_batches: list[dict[str, Tensor]], adapter: Any) -> dict[str, Tensor]:
    tokens = tiny_safety_tokens()
    model, reference = naive.rebuilt(made(name), adapter, watch.weights[0]), made(name)
    parts = [[batch] for batch in micro_batches] if name in ADDS_MEANS else [micro_batches]
    total: dict[str, Tensor] = {}
    for part in parts:
        _, term, gradients = naive.step(
            model,
            reference,
            part,
            objective="match",
            weight=KL_COEF,
            token_ids=tokens.token_ids,
            weights=tokens.weights,
            header=[],
        )
        assert term > 1e-3
        for key, gradient in gradients.items():
            total[key] = total.get(key, 0) + gradient
    return total


ALWAYS = {"full": ["llama 4, text", "opt", "mamba", *ADDS_MEANS], "lora": ["llama 4, images"]}
ROWS = [
    pytest.param(kind, name, id=f"{kind}, {name}", marks=() if name in ALWAYS[kind] else pytest.mark.matrix)
    for kind in ALWAYS
    for name in MODELS
    if kind == "lora" or name not in LORA_ONLY
]


def _skip_where_it_fails_by_itself(name: str) -> None:
    try:
        made(name)(input_ids=torch.tensor([[5, 6, 7]]))
    except AttributeError as error:
        # Llama 4 with images in transformers 5.24.
        pytest.skip(f"this transformers cannot run it: {error}")


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_an_accumulated_step_is_autograds(tmp_path: Any, kind: str, name: str) -> None:
    _skip_where_it_fails_by_itself(name)
    targets = TARGETS.get(name, "all-linear")
    adapter = LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM") if kind == "lora" else None
    trainer, watch, micro_batches = trained(name, tmp_path, adapter)
    wanted = expected(name, watch, micro_batches, adapter)
    assert trainer.state.global_step == 1
    for key, gradient in watch.gradients[0].items():
        scale = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(
            gradient, wanted.get(key, torch.zeros_like(gradient)), rtol=1e-4, atol=1e-5 * scale, msg=key
        )


def test_heads_that_do_not_shift_labels_are_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"d_model": 32, "decoder_layers": 2, "decoder_ffn_dim": 48, "decoder_attention_heads": 2}
    monkeypatch.setitem(MODELS, "bart's decoder", of("BartForCausalLM", **settings))
    with pytest.raises(AttachmentError, match="labels that are shifted already"):
        trained("bart's decoder", tmp_path, None)


def test_weights_that_are_rescaled_for_evaluation_are_copied(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """RWKV divides its weights in place: with the adapter off in between, the graph of the step would be lost."""
    monkeypatch.setitem(MODELS, "rwkv", of("RwkvForCausalLM", context_length=64))
    adapter = LoraConfig(r=4, target_modules=["key", "value"], task_type="CAUSAL_LM")
    with pytest.raises(ConfigurationError, match="rescales its weights in place"):
        trained("rwkv", tmp_path, adapter, reference={"kind": "adapter_off"})
    trainer, watch, micro_batches = trained("rwkv", tmp_path, adapter)
    assert trainer.state.global_step == 1
    model, reference = naive.rebuilt(made("rwkv"), adapter, watch.weights[0]), made("rwkv")
    tokens, total = tiny_safety_tokens().token_ids, torch.zeros(())
    everything = naive.sequences(micro_batches)
    for ids, labels in everything:
        columns = naive.responses(labels)[0]
        places = [column - 1 for column in columns]
        with torch.no_grad():
            # Twice the same call in evaluation: nothing is rescaled in between.
            own, aligned = (m(input_ids=ids[None]).logits[0][places][:, tokens] / 2 for m in (model, reference))
            target = torch.softmax(aligned, -1)
            total += 4 * (target * (target.log() - torch.log_softmax(own, -1))).sum()
    count = sum(len(naive.responses(labels)[0]) for _, labels in everything)
    assert watch.losses[0]["pact/kl"] == pytest.approx(float(total / count), rel=1e-3)
