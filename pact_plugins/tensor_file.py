"""A safetensors file with JSON metadata and a checksum over everything it says: what our artifacts are kept in."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pact_plugins.errors import PACTError
from pact_plugins.files import atomic_path, parse_json

_CHECKSUM = "checksum"


def save_tensor_file(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Path:
    """Write the file atomically and return its path.

    Args:
        tensors: one-dimensional.
        metadata: JSON values; the checksum is added.
    """
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    described = {**metadata, _CHECKSUM: _checksum(tensors, metadata)}
    with atomic_path(path) as temporary:
        write_tensors(temporary, tensors, {key: json.dumps(value) for key, value in described.items()})
    return Path(path)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file; a full disk is an ``OSError``, which safetensors itself does not make of it."""
    try:
        save_file(dict(tensors), path, metadata=None if metadata is None else dict(metadata))
    except SafetensorError as error:
        refused = OSError(errno.EIO, str(error).removeprefix("Error while serializing: "))
        raise refused from error


def load_tensor_file(
    path: str | os.PathLike[str],
    dtypes: Mapping[str, torch.dtype],
    metadata_types: Mapping[str, type],
    *,
    fail: type[PACTError],
    what: str,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a file; what else it holds is left alone.

    Args:
        dtypes: the tensors that must be there, one-dimensional, and the dtype of each.
        metadata_types: what must stand in the metadata, and the type of each.
        fail: the error to raise.
        what: how the message calls the file's kind, such as ``a safety-token file``.

    Raises:
        PACTError: of the type ``fail``: the file cannot be read, is of another kind, or is not what was written. A file
            without a checksum, from before there was one, is taken as it is.
    """
    try:
        with safe_open(str(path), framework="pt") as reader:
            stored = set(reader.keys())
            metadata = {key: parse_json(value) for key, value in (reader.metadata() or {}).items()}
            missing = [name for name in (*metadata_types, *dtypes) if name not in {*metadata, *stored}]
            if missing:
                raise fail(f"{path} is not {what}: it lacks {', '.join(missing)}")
            tensors = {name: reader.get_tensor(name) for name in dtypes}
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        if isinstance(error, PACTError):
            raise
        raise fail(f"{path} cannot be read as a safetensors file: {error}") from error
    known = metadata_types.keys()
    for key, expected in metadata_types.items():
        if type(metadata[key]) is not expected:
            raise fail(f"{path} is damaged: {key} is {metadata[key]!r:.80}")
    for name, dtype in dtypes.items():
        if tensors[name].dim() != 1 or tensors[name].dtype != dtype:
            shape = tuple(tensors[name].shape)
            raise fail(f"{path} is damaged: {name} has shape {shape} and dtype {tensors[name].dtype}, not (N,) {dtype}")
    written = {key: value for key, value in metadata.items() if key != _CHECKSUM}
    # Without a checksum there may be nothing else that nobody knows: it may be the checksum's own damaged name.
    whole = metadata[_CHECKSUM] == _checksum(tensors, written) if _CHECKSUM in metadata else written.keys() <= known
    if not whole:
        raise fail(f"{path} is damaged: its content is not what was written; make it again")
    return tensors, written


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype}".encode() + tensor.numpy().tobytes())
    return digest.hexdigest()
