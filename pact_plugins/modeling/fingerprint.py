"""Short names for the content of a model and of a tokenizer."""

from __future__ import annotations

import hashlib
import json
import re
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from pact_plugins.modeling.adapter_parameters import switched_off
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
    for name, parameter in sorted(_own_parameters(model), key=itemgetter(0)):
        digest.update(f"{name}{_shape(parameter)}".encode())
        if not hasattr(parameter, "ds_id"):
            digest.update(_sample(parameter))
    if hasattr(model, "config"):
        digest.update(configuration_fingerprint(model.config).encode())
    return digest.hexdigest()[:16]


def weights_fingerprint(causal_lm: Any) -> str:
    """16 hexadecimal digits over shapes and a sample of the values between a model's embeddings.

    It is the same wherever the weights were loaded from, in which class and by how many ranks they are held, with and
    without an adapter, and whatever rows the vocabulary has grown by. Every rank must call it.
    """
    embeddings = [causal_lm.get_input_embeddings(), causal_lm.get_output_embeddings()]
    left_out = {id(parameter) for module in embeddings if module is not None for parameter in module.parameters()}
    samples = []
    for name, parameter in _own_parameters(causal_lm):
        if id(parameter) not in left_out:
            numbers = re.findall(r"(?<=\.)\d+(?=\.)", name)
            samples.append(f"{numbers}{_shape(parameter)}".encode() + _gathered_sample(parameter))
    return hashlib.sha256(b"".join(sorted(samples))).hexdigest()[:16]


def _shape(parameter: Tensor) -> tuple[int, ...]:
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def _own_parameters(model: Any) -> list[tuple[str, Tensor]]:
    of_adapters = {id(parameter) for parameter in switched_off(model)}
    return [
        (name.replace(".base_layer.", ".").replace(".original_module.", "."), parameter)
        for name, parameter in model.named_parameters()
        if id(parameter) not in of_adapters
    ]


def _gathered_sample(parameter: Any) -> bytes:
    if not hasattr(parameter, "ds_id"):
        return _sample(parameter)
    from deepspeed import zero

    with zero.GatheredParameters([parameter]):
        return _sample(parameter)


@torch.no_grad()
def _sample(parameter: Tensor) -> bytes:
    values: Any = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
    step = max(1, values.numel() // _SAMPLES_PER_TENSOR)
    sample = values.detach().reshape(-1)[::step][:_SAMPLES_PER_TENSOR]
    # Memory that numpy has seen cannot be given back, which FSDP2 does with what it gathered.
    return sample.float().cpu().clone().numpy().tobytes()
