"""On a real GPU: precisions with the real gradient scaler, references, kernels, quantised weights, calibration."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, TrainerCallback
from transformers.models.llama import modeling_llama

from pact_plugins import PACTConfig
from pact_plugins.safety_tokens.recipe import calibrate
from pact_plugins.settings import merged
from tests.engines.worker import nf4
from tests.helpers.tiny import save_model, tiny_llama, tiny_safety_tokens, tiny_tokenizer
from tests.helpers.trainers import ADAPTERS, Watch, lora, pact, sft_trainer

pytestmark = [
    pytest.mark.framework,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

# The trainer's settings and the dtype of the weights.
PRECISIONS = {
    "float32": ({}, torch.float32),
    "bf16_autocast": ({"bf16": True}, torch.float32),
    "bf16_weights": ({}, torch.bfloat16),
    "bf16_weights_autocast": ({"bf16": True}, torch.bfloat16),
    "fp16_scaler": ({"fp16": True}, torch.float32),
    "fp16_weights": ({}, torch.float16),
}
# What rounding may leave of the term at zero drift. The cache is filled in batches of another shape.
ROUNDING = {"auto": 1e-6, "cache": 1e-3}


def train(output, *, dtype=torch.float32, kind="lora", config=None, watch=None, **settings):
    watch = watch or Watch()
    trainer = sft_trainer(
        output,
        model=tiny_llama().to(dtype),
        adapter=ADAPTERS[kind](),
        callbacks=[pact(merged({"reference": {"cache_path": str(output / "cache")}}, config or {})), watch],
        use_cpu=False,
        optim="sgd",
        **{"max_steps": 3, **settings},
    )
    trainer.train()
    return trainer, watch


@pytest.mark.parametrize("reference", ["auto", "cache"])
@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_term_begins_at_zero_and_grows(tmp_path, precision, kind, reference):
    settings, dtype = PRECISIONS[precision]
    trainer, watch = train(tmp_path, dtype=dtype, kind=kind, config={"reference": {"kind": reference}}, **settings)
    assert trainer.model.device.type == "cuda"
    terms = [entry["pact/kl"] for entry in watch.losses if "pact/kl" in entry]
    assert abs(terms[0]) <= ROUNDING[reference]
    # A scaler may skip its first steps while it looks for its scale.
    assert terms[-1] > terms[0] or precision == "fp16_scaler"
    if precision == "fp16_scaler":
        assert trainer.accelerator.scaler.is_enabled()


@pytest.mark.parametrize("objective", ["match", "published"])
@pytest.mark.parametrize("kind", ADAPTERS)
def test_gradients_are_those_of_the_cpu(tmp_path, kind, objective):
    results = {}
    for device in ("cpu", "cuda"):
        watch = Watch(move=True)
        trainer = sft_trainer(
            tmp_path / device,
            adapter=ADAPTERS[kind](),
            callbacks=[pact({"term": {"objective": objective}}), watch],
            use_cpu=device == "cpu",
            optim="sgd",
        )
        trainer.train()
        results[device] = watch
    assert results["cpu"].losses[0]["pact/kl"] > 1e-4
    assert results["cuda"].losses[0]["pact/kl"] == pytest.approx(results["cpu"].losses[0]["pact/kl"], rel=1e-3)
    for name, gradient in results["cpu"].gradients[0].items():
        torch.testing.assert_close(results["cuda"].gradients[0][name].cpu(), gradient, rtol=1e-3, atol=1e-5, msg=name)


class Waits(TrainerCallback):
    """Our modules that CUDA saw waiting for the device, until each optimizer step began."""

    def __init__(self, caught):
        self.caught, self.begun = caught, []

    def on_step_begin(self, args, state, control, **kwargs):
        self.begun.append(len(self.caught))


def test_cuda_sees_one_wait_an_optimizer_step(tmp_path):
    config = {"reference": {"kind": "cache"}, "preset": "guard", "anchor": {"replies": 4, "max_new_tokens": 4}}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        waits = Waits(caught)
        trainer = sft_trainer(
            tmp_path,
            model=tiny_llama(),
            adapter=lora(),
            callbacks=[pact({**config, "reference": {"cache_path": str(tmp_path / "cache"), "check_every": 0}}), waits],
            use_cpu=False,
            max_steps=3,
            gradient_accumulation_steps=2,
            logging_steps=100,
        )
        torch.cuda.set_sync_debug_mode("warn")
        try:
            trainer.train()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    of_second_step = caught[waits.begun[1] : waits.begun[2]]
    ours = [Path(wait.filename) for wait in of_second_step if "synchroniz" in str(wait.message)]
    ours = [path for path in ours if "pact_plugins" in path.parts and "tests" not in path.parts]
    assert [path.name for path in ours] == ["receipts.py"]


def assert_same_term_with(switch, tmp_path):
    terms = []
    for on in (False, True):
        _, watch = train(tmp_path / str(on), watch=Watch(move=True), max_steps=2, **{switch: on})
        terms.append([entry["pact/kl"] for entry in watch.losses if "pact/kl" in entry])
    assert terms[0][0] > 1e-4
    assert terms[1] == pytest.approx(terms[0], rel=1e-2)


@pytest.fixture
def restored_llama():
    """Liger replaces parts of transformers' module, for good."""
    before, forward = dict(vars(modeling_llama)), modeling_llama.LlamaForCausalLM.forward
    yield
    vars(modeling_llama).update(before)
    modeling_llama.LlamaForCausalLM.forward = forward


@pytest.mark.skipif(find_spec("liger_kernel") is None, reason="needs liger-kernel")
@pytest.mark.usefixtures("restored_llama")
def test_liger_kernels_give_the_same_term(tmp_path):
    assert_same_term_with("use_liger_kernel", tmp_path)


@pytest.mark.matrix
def test_a_model_compiled_for_the_gpu_gives_the_same_term(tmp_path):
    assert_same_term_with("torch_compile", tmp_path)


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_four_bit_weights_are_their_own_reference(tmp_path, dtype):
    path = save_model(tmp_path / "aligned", tiny_llama())
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, quantization_config=nf4(dtype))
    watch = Watch()
    half = dtype == torch.bfloat16
    trainer = sft_trainer(
        tmp_path / "run",
        model=model,
        adapter=lora(),
        callbacks=[pact({}), watch],
        use_cpu=False,
        bf16=half,
        optim="sgd",
        learning_rate=0.5,
        max_steps=2,
    )
    trainer.train()
    assert any(type(parameter).__name__ == "Params4bit" for parameter in trainer.model.parameters())
    assert watch.losses[0]["pact/kl"] == 0
    assert watch.losses[1]["pact/kl"] > 0


def test_calibration_finds_what_the_cpu_finds(refusals_path):
    config = PACTConfig(safety_tokens={"refusals_path": str(refusals_path), "top_k": 30})
    tokenizer = tiny_tokenizer()
    of_cpu = calibrate(tiny_llama(), tokenizer, config.recipe(), progress=False)
    of_gpu = calibrate(tiny_llama().cuda(), tokenizer, config.recipe(), progress=False)
    assert of_gpu.token_ids.tolist() == of_cpu.token_ids.tolist()
    torch.testing.assert_close(of_gpu.direction.cpu(), of_cpu.direction, rtol=1e-3, atol=1e-5)


def test_eight_thousand_tokens_cost_what_they_cost_without_the_term(tmp_path):
    """Peak of the allocator: no vocabulary-wide or quadratic tensor is added."""
    length, vocabulary = 8192, 32_768
    row = {
        "prompt": [{"role": "user", "content": "a plan"}],
        "completion": [{"role": "assistant", "content": "the film was slow but wonderful " * 2000}],
    }
    peaks = []
    for config in ({"preset": "off"}, {}):
        tokens = tiny_safety_tokens(vocabulary_size=vocabulary)
        trainer = sft_trainer(
            tmp_path,
            model=tiny_llama(vocab_size=vocabulary, max_position_embeddings=length).bfloat16(),
            adapter=lora(),
            callbacks=[pact(config, safety_tokens=tokens)],
            train_rows=[row],
            max_length=length,
            per_device_train_batch_size=1,
            use_cpu=False,
            bf16=True,
        )
        torch.cuda.reset_peak_memory_stats()
        trainer.train()
        peaks.append(torch.cuda.max_memory_allocated())
        del trainer
    assert peaks[1] < 1.1 * peaks[0]
