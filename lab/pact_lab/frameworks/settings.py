"""The comparison's own training, written as each framework's YAML; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pact_lab.finetuning.tuning import LORA_ALPHA, LORA_RANK, WARMUP_STEPS, Tuning
from pact_plugins.contracts import Method
from pact_plugins.settings import merged

CHATS_FILE, SEGMENTS_FILE, DATA_SET = "chats.jsonl", "segments.jsonl", "rows"
# Where the framework leaves the tokens that it trains on, and the adapter.
PREPARED_FOLDER, RUNS_FOLDER, CALIBRATION_FOLDER = "prepared", "runs", "calibration"


@dataclass(frozen=True)
class Plan:
    """One run: all paths in its YAML are relative to the folder that holds the YAML."""

    framework: str
    method: Method
    model_path: str
    tuning: Tuning
    seed: int
    on_cpu: bool

    @property
    def name(self) -> str:
        """For files and folders."""
        return f"{self.framework}-{self.method.name}"

    @property
    def file_name(self) -> str:
        """Its YAML."""
        return f"{self.name}.yml"

    @property
    def command(self) -> str:
        """The stock command, after ``pact enable``."""
        return _COMMANDS[self.framework].format(self.file_name)

    def settings(self) -> dict[str, Any]:
        """The content of its YAML."""
        return _WRITERS[self.framework](self)

    def pact(self) -> dict[str, Any] | None:
        """The ``pact:`` block, None for plain fine-tuning."""
        if self.method.settings is None:
            return None
        shared = {"reference": {"cache_path": CALIBRATION_FOLDER}, "safety_tokens": {"batch_size": 66}}
        return merged(shared, self.method.settings)


def _axolotl(plan: Plan) -> dict[str, Any]:
    pact = plan.pact()
    protection = {} if pact is None else {"plugins": ["pact"], "pact": pact}
    # Of a chat, Axolotl trains on the reply and the end of its turn; TRL and LLaMA-Factory train on the newline after
    # it, too, which is one token in three of a row of sentiment. Segments say what is trained on.
    data_set = {"path": SEGMENTS_FILE, "ds_type": "json", "type": "input_output"}
    return {
        "base_model": plan.model_path,
        **protection,
        "datasets": [data_set],
        "dataset_prepared_path": f"{PREPARED_FOLDER}/{plan.name}",
        "dataset_num_proc": 1,
        "shuffle_merged_datasets": False,
        "sequence_len": plan.tuning.max_length,
        "pad_to_sequence_len": False,
        "adapter": "lora",
        "lora_r": LORA_RANK,
        "lora_alpha": LORA_ALPHA,
        "lora_dropout": 0.0,
        "lora_target_linear": True,
        "lora_mlp_kernel": False,
        "lora_qkv_kernel": False,
        "lora_o_kernel": False,
        "lora_embedding_kernel": False,
        "output_dir": f"{RUNS_FOLDER}/{plan.name}",
        "micro_batch_size": plan.tuning.batch_size,
        "gradient_accumulation_steps": 1,
        "num_epochs": plan.tuning.epochs,
        "optimizer": "adamw_torch",
        "learning_rate": plan.tuning.learning_rate,
        "lr_scheduler": "linear",
        "warmup_steps": WARMUP_STEPS,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "gradient_checkpointing": False,
        "attn_implementation": "sdpa",
        "bf16": False,
        "fp16": False,
        "tf32": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "seed": plan.seed,
    }


def _llamafactory(plan: Plan) -> dict[str, Any]:
    pact = plan.pact()
    # Without `template:` LLaMA-Factory takes the model's own.
    return {
        "model_name_or_path": plan.model_path,
        **({"stage": "sft"} if pact is None else {"stage": "pact", "pact": pact}),
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": LORA_RANK,
        "lora_alpha": LORA_ALPHA,
        "lora_dropout": 0.0,
        "lora_target": "all",
        "dataset_dir": ".",
        "dataset": DATA_SET,
        "tokenized_path": f"{PREPARED_FOLDER}/{plan.name}",
        "overwrite_cache": True,
        "cutoff_len": plan.tuning.max_length,
        "output_dir": f"{RUNS_FOLDER}/{plan.name}",
        "per_device_train_batch_size": plan.tuning.batch_size,
        "gradient_accumulation_steps": 1,
        "num_train_epochs": plan.tuning.epochs,
        "optim": "adamw_torch",
        "learning_rate": plan.tuning.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": WARMUP_STEPS,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "disable_gradient_checkpointing": True,
        "flash_attn": "sdpa",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "seed": plan.seed,
        **({"use_cpu": True} if plan.on_cpu else {}),
    }


_WRITERS: Mapping[str, Callable[[Plan], dict[str, Any]]] = {"axolotl": _axolotl, "llamafactory": _llamafactory}
_COMMANDS = {"axolotl": "axolotl train {} --launcher python", "llamafactory": "llamafactory-cli train {}"}
FRAMEWORKS = tuple(_WRITERS)


def data_set_information() -> dict[str, Any]:
    """LLaMA-Factory's ``dataset_info.json``: what the rows look like."""
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    return {
        DATA_SET: {
            "file_name": CHATS_FILE,
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": {**tags, "system_tag": "system"},
        }
    }
