"""A few SGD steps of the real ``SFTTrainer`` under whatever engine the environment asks for.

``python -m tests.engines.worker ENGINE OUT CASES``, alone or under torchrun. CASES is JSON, ``{"name": {...}}``; each
case writes ``parameters.safetensors`` (every trained parameter, whole, before and after each step, as ``STEP.NAME``)
and ``facts.json`` into OUT/name. One script for all engines, so that nothing but the engine differs.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import datasets
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import SFTTrainer

from pact_plugins.errors import PACTError
from pact_plugins.modeling import model_parts_of
from pact_plugins.training import joining
from tests.helpers.guarded import tokens_with_openings
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.trainers import arguments, lora, pact, rows

IS_FIRST = int(os.environ.get("RANK", "0")) == 0
ADAPTERS: dict[str, Any] = {"lora": lora, "lora_head": lambda: lora(modules_to_save=["lm_head"])}
PARALLEL = ("ddp", "fsdp2", "zero2", "zero3")


@torch.no_grad()
def whole(parameter: Any) -> Tensor:
    """A copy of a parameter that an engine may have sharded. Every rank must call it."""
    if hasattr(parameter, "full_tensor"):
        return parameter.full_tensor().clone()
    context: Any = nullcontext()
    if hasattr(parameter, "ds_id"):
        import deepspeed

        context = deepspeed.zero.GatheredParameters([parameter])
    with context:
        return parameter.detach().clone()


class Record(TrainerCallback):
    """Every trained parameter before the first and after each step, and what the engine did to the parameters."""

    def __init__(self) -> None:
        self.parameters: dict[str, Tensor] = {}
        self.also: list[TrainerCallback] = []
        self.facts: dict[str, Any] = {"logs": []}

    def _keep(self, step: int, model: Any) -> None:
        for name, parameter in model_parts_of(model).model.named_parameters():
            if parameter.requires_grad:
                self.parameters[f"{step}.{name.replace('_orig_mod.', '')}"] = whole(parameter)

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step:
            return
        self._keep(0, model)
        model_parts = model_parts_of(model)
        parameters = list(model_parts.model.parameters())
        head = model_parts.causal_lm.get_output_embeddings()
        head_parameters = list(head.parameters())
        self.facts.update(
            parameters=len(parameters),
            quantised=sum(type(p).__name__ == "Params4bit" for p in parameters),
            dtensors=sum(hasattr(p, "full_tensor") for p in parameters),
            zero3_parameters=sum(hasattr(p, "ds_shape") for p in parameters),
            partitioned=sum(hasattr(p, "ds_shape") and p.numel() < p.ds_shape.numel() for p in parameters),
            head_is_sharded=all(hasattr(p, "full_tensor") or hasattr(p, "ds_shape") for p in head_parameters),
            head_is_trained=any(p.requires_grad for p in head_parameters),
        )

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self._keep(state.global_step, model)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.facts["logs"].append(dict(logs))


@contextmanager
def counted_collectives(record: Record) -> Iterator[None]:
    """``facts["collectives"]``: for each optimizer step, the modules of the package that spoke to the other ranks."""
    steps: list[list[str]] = []
    record.facts["collectives"] = steps
    names = ("all_reduce", "all_gather", "broadcast")
    originals = {name: getattr(torch.distributed, name) for name in names}

    def counting(name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            ours = [frame.filename for frame in traceback.extract_stack() if "/pact_plugins/" in frame.filename]
            callers = [file for file in ours if not file.endswith("/distributed.py")]
            if len(callers) < len(ours) and steps:
                steps[-1].append(callers[-1].split("/pact_plugins/")[-1])
            return originals[name](*args, **kwargs)

        return call

    class Steps(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            steps.append([])

    record.also = [Steps()]
    for name in names:
        setattr(torch.distributed, name, counting(name))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(torch.distributed, name, original)


def nf4(compute_dtype: torch.dtype = torch.float32) -> Any:
    """What QLoRA uses."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute_dtype)


def run(
    engine: str,
    out: Path,
    *,
    model: str,
    adapter: str | None = None,
    config: dict[str, Any],
    expect_error: bool = False,
    four_bit: bool = False,
    count: bool = False,
    opening_tokens: bool = False,
    joins: bool | None = None,
    **settings: Any,
) -> None:
    """Train, and write what happened.

    Args:
        count: also how often the ranks spoke for us.
        opening_tokens: the safety tokens know how refusals begin.
        joins: whether the anchor's replies join the trainer's own pass; None as the costs are.
    """
    out.mkdir(parents=True, exist_ok=True)
    record = Record()
    if joins is not None:
        joining._PASS_IN_TOKENS["cpu"] = joining._PASS_OVER_SHARDS = 10**9 if joins else -(10**9)
    # accelerate ignores DeepSpeed where it is told to use the CPU; without a GPU it ends there by itself.
    on_cpu = {"use_cpu": not engine.startswith("zero")}
    gloo = {"ddp_backend": "gloo"} if engine in PARALLEL else {}
    sgd = {"optim": "sgd", "lr_scheduler_type": "constant", "max_steps": 2, "gradient_accumulation_steps": 2}
    batch = {"per_device_train_batch_size": 2 if engine in PARALLEL else 4}
    # Before the model is loaded: ZeRO-3 partitions it while it is being loaded.
    args = arguments(out / "run", **{**sgd, **batch, **gloo, **on_cpu, **settings})
    quantisation = {"quantization_config": nf4()} if four_bit else {}
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, **quantisation)
    torch.manual_seed(5)  # of LoRA's A
    tokens = {"safety_tokens": tokens_with_openings()} if opening_tokens else {}
    counting = counted_collectives(record) if count else nullcontext()
    with warnings.catch_warnings(record=True) as caught, counting:
        warnings.simplefilter("always")
        trainer = SFTTrainer(
            model=loaded,
            args=args,
            train_dataset=datasets.Dataset.from_list(rows()),
            processing_class=tiny_tokenizer(),
            peft_config=ADAPTERS[adapter]() if adapter else None,
            callbacks=[pact(config, **tokens), record, *record.also],
        )
        try:
            trainer.train()
        except PACTError as error:
            if not expect_error:
                raise
            record.facts["error"] = str(error)
    engine_plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    record.facts["zero_stage"] = None if engine_plugin is None else engine_plugin.zero_stage
    record.facts["distributed_type"] = str(trainer.accelerator.distributed_type.value)
    record.facts["warnings"] = [str(warning.message) for warning in caught]
    record.facts["processes"] = trainer.accelerator.num_processes
    if IS_FIRST:
        save_file(
            {name: value.contiguous() for name, value in record.parameters.items()}, out / "parameters.safetensors"
        )
        (out / "facts.json").write_text(json.dumps(record.facts))


def main(engine: str, out: Path, cases: dict[str, dict[str, Any]]) -> None:
    """Several cases share a process: importing takes longer than training."""
    if engine == "fsdp2":
        from tests.engines.fsdp_on_cpu import allow_fsdp_on_cpu

        allow_fsdp_on_cpu()
    for name, options in cases.items():
        run(engine, out / name, **options)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))
