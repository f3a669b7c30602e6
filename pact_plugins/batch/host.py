"""Between host and device without waiting: what a forward pass reads is copied to the host before it runs.

Where the responses are, and what the cache holds of them, is bookkeeping on the host. A copy that is begun before the
forward pass is queued ahead of its kernels, so that the device computes while the host counts; copies to the device
start from pinned memory and do not block. Bookkeeping is done in numpy: reading an array never asks the device.
"""

from __future__ import annotations

from typing import Any

import numpy
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

Array = numpy.ndarray[Any, Any]

_BEGUN: Any = WeakTensorKeyDictionary()


def begin_copy(tensor: Any) -> None:
    """Start copying a tensor to pinned memory, unless it is on the host or on its way already."""
    if not isinstance(tensor, Tensor) or tensor.device.type != "cuda" or tensor in _BEGUN:
        return
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    pinned.copy_(tensor.detach(), non_blocking=True)
    finished = torch.cuda.Event()
    finished.record(torch.cuda.current_stream(tensor.device))
    _BEGUN[tensor] = (pinned, finished)


def on_host(tensor: Tensor) -> Array:
    """The tensor's values; they may share its memory, so that nobody writes to them.

    Waits until a copy that was begun has arrived, which the device reaches before what was queued after it. Without
    one, waits for everything that is queued.
    """
    pinned, finished = _BEGUN.get(tensor, (None, None))
    if pinned is None or finished is None:
        copied = tensor.detach().cpu()
        return (copied.float() if copied.dtype == torch.bfloat16 else copied).numpy()
    finished.synchronize()
    return pinned.numpy()


def to_device(values: Array | Tensor, device: torch.device) -> Tensor:
    """The values on ``device``; the host does not wait for the copy."""
    tensor = torch.from_numpy(values) if isinstance(values, numpy.ndarray) else values
    if tensor.device.type == "cpu" and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
