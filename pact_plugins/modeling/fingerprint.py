"""Short names for the content of a model and of a tokenizer."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import Tensor

from pact_plugins.modeling.configuration import configuration_fingerprint
from pact_plugins.modeling.vocabulary import added_token_ids

_SAMPLES_PER_TENSOR = 64


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """16 hexadecimal digits over the token-to-id table, added tokens left out.

    A padding token added for training changes no id of the vocabulary proper, and must not make a file unusable.
    """
    added = added_token_ids(tokenizer)
    table = sorted((index, token) for token, index in tokenizer.get_vocab().items() if index not in added)
    return hashlib.sha256(json.dumps(table).encode()).hexdigest()[:16]


def model_fingerprint(model: Any) -> str:
    """16 hexadecimal digits over the names, shapes and a sample of the values of a model's own parameters, and over
    what of its configuration changes the forward pass.

    Adapter weights are left out, so that a model with and without a fresh adapter has one name.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(_own_parameters(model)):
        shape = tuple(getattr(parameter, "ds_shape", parameter.shape))
        digest.update(f"{name}{shape}".encode())
        if not hasattr(parameter, "ds_id"):
            digest.update(_sample(parameter))
    if hasattr(model, "config"):
        digest.update(configuration_fingerprint(model.config).encode())
    return digest.hexdigest()[:16]


def _own_parameters(model: Any) -> list[tuple[str, Tensor]]:
    adapter_parts = (".lora_", ".modules_to_save.", ".ia3_", ".vera_", ".hada_", ".lokr_", ".oft_", ".boft_", ".hra_")
    return [
        (name.replace(".base_layer.", ".").replace(".original_module.", "."), parameter)
        for name, parameter in model.named_parameters()
        if not any(part in f".{name}" for part in adapter_parts)
    ]


@torch.no_grad()
def _sample(parameter: Tensor) -> bytes:
    values: Any = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
    step = max(1, values.numel() // _SAMPLES_PER_TENSOR)
    sample = values.detach().reshape(-1)[::step][:_SAMPLES_PER_TENSOR]
    # Memory that numpy has seen cannot be given back, which FSDP2 does with what it gathered.
    return sample.float().cpu().clone().numpy().tobytes()
