"""Counts how often our code reads a value that would lie on the device, on a machine that has none.

On a device each such read waits for everything that is queued. Here every tensor counts as the device's, but for those
made from Python or numpy values and from nothing else; what ``to_device`` returns is the device's again.
"""

from __future__ import annotations

import sys
import traceback
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

import pact_plugins.batch.host as host

_READS = {"item", "tolist", "numpy", "cpu", "nonzero", "masked_select", "unique", "unique_consecutive", "__bool__"}
_READS |= {"__int__", "__float__", "__index__", "repeat_interleave", "equal", "allclose", "argwhere"}
# Reading what lies in a file, and what is looked at on a CPU alone.
_FILES, _ON_A_CPU = "/pact_plugins/reference/cache/", "batch/divergence.py"
_FROM_VALUES = {"from_numpy", "tensor", "as_tensor", "frombuffer", "zeros", "ones", "full", "arange", "empty"}
_FROM_VALUES |= {"linspace", "randperm"}


class ReadCounter(TorchFunctionMode):
    """``reads`` holds the place in our code of each read; ``copies`` of those that were begun before."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self._on_host: Any = WeakIdKeyDictionary()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        tensors = [value for value in _flat((*args, *kwargs.values())) if isinstance(value, Tensor)]
        of_device = [tensor for tensor in tensors if tensor not in self._on_host]
        if of_device and _is_read(name, args, kwargs):
            place = _place_in_our_code()
            if place:
                self.reads.append(f"{name} {place}")
        result = function(*args, **kwargs)
        born_on_host = not tensors and name in _FROM_VALUES and kwargs.get("device") is None
        if born_on_host or name == "cpu" or (tensors and not of_device) or _called_by(_FILES):
            for tensor in _flat((result,)):
                if isinstance(tensor, Tensor):
                    self._on_host[tensor] = True
        return result

    def born_here(self, tensor: Tensor) -> Tensor:
        """It lies on the host."""
        self._on_host[tensor] = True
        return tensor

    def forget(self, tensor: Tensor) -> Tensor:
        """It lies on the device from now on."""
        moved = tensor.view_as(tensor)
        self._on_host.pop(moved, None)
        return moved


@contextmanager
def counted_reads(monkeypatch: Any) -> Any:
    """A ``ReadCounter`` at work; labels and inputs, whose copies are begun before the forward pass, may be read."""
    counter, moved, read = ReadCounter(), host.to_device, host.on_host
    from_numpy = torch.from_numpy
    # No mode sees this one.
    monkeypatch.setattr(torch, "from_numpy", lambda array: counter.born_here(from_numpy(array)))
    for module in [module for name, module in sys.modules.items() if name.startswith("pact_plugins.")]:
        if getattr(module, "to_device", None) is moved:
            monkeypatch.setattr(module, "to_device", lambda values, device: counter.forget(moved(values, device)))
        if getattr(module, "on_host", None) is read:
            monkeypatch.setattr(module, "on_host", lambda tensor: _read_begun(counter, tensor, read))
        if hasattr(module, "begin_copy"):
            monkeypatch.setattr(module, "begin_copy", lambda tensor: _begin(counter, tensor))
    with counter:
        yield counter


def _begin(counter: ReadCounter, tensor: Any) -> None:
    if isinstance(tensor, Tensor):
        tensor._copy_was_begun = True


def _read_begun(counter: ReadCounter, tensor: Tensor, read: Any) -> Any:
    if not getattr(tensor, "_copy_was_begun", False):
        return read(tensor)
    with torch._C.DisableTorchFunction():
        return tensor.detach().numpy()


def _is_read(name: str, args: Any, kwargs: Any) -> bool:
    if name in _READS:
        return True
    if name == "to":
        # To where another tensor is, is no way to the host.
        return any(isinstance(value, str) and value == "cpu" for value in (*args[1:2], kwargs.get("device")))
    if name in ("__getitem__", "__setitem__"):
        return any(isinstance(index, Tensor) and index.dtype == torch.bool for index in _flat((args[1],)))
    return name == "where" and len(args) + len(kwargs) == 1


def _flat(values: Any) -> Any:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def _place_in_our_code() -> str | None:
    """The innermost line of the package on the stack; None where the trainer reads for itself.

    What transformers reads within a pass of ours is marked: it looks at a mask to see whether it can do without.
    """
    within = ""
    for frame in reversed(traceback.extract_stack(sys._getframe(2))):
        if "/transformers/" in frame.filename:
            within = "transformers "
        if "/pact_plugins/" in frame.filename and not frame.filename.endswith("/batch/host.py"):
            file = frame.filename.split("/pact_plugins/")[-1]
            known = _FILES in frame.filename or file == _ON_A_CPU
            return None if known else f"{within}{file}:{frame.lineno} {frame.line}"
    return None


def _called_by(folder: str) -> bool:
    frame: Any = sys._getframe(2)
    while frame is not None and "/torch/" in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None and folder in frame.f_code.co_filename
