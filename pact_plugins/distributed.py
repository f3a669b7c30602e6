"""Small exchanges between ranks, the identity where there is one process only; and what accelerate was set up with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from accelerate.state import AcceleratorState
from torch import Tensor

from pact_plugins.errors import LostRankError


def is_distributed() -> bool:
    """Whether a process group of more than this process is running."""
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )


def accelerator_state() -> AcceleratorState | None:
    """What accelerate was set up with in this process; None where nobody has, and asking would be to do it."""
    return AcceleratorState() if AcceleratorState._shared_state else None


def world_size() -> int:
    """Number of ranks."""
    return torch.distributed.get_world_size() if is_distributed() else 1


def rank() -> int:
    """This process's number among the ranks, from 0."""
    return torch.distributed.get_rank() if is_distributed() else 0


def _device() -> str:
    return "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"


@contextmanager
def _told_if_a_rank_is_lost() -> Iterator[None]:
    """torch's error names a connection or a time limit, and neither the run nor what to do."""
    try:
        yield
    except RuntimeError as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise LostRankError(
            f"another rank of this run has gone, or does not answer (this is rank {rank()} of {world_size()}): it was "
            "killed, or stopped with an error in its own log. Start all ranks again from the newest checkpoint "
            f"[{first[:200]}]"
        ) from error


def summed(values: Sequence[float]) -> list[float]:
    """The element-wise sum over the ranks. Every rank must call it with as many values."""
    if not is_distributed():
        return list(values)
    packed = torch.tensor(values, dtype=torch.float64, device=_device())
    with _told_if_a_rank_is_lost():
        torch.distributed.all_reduce(packed)
    return packed.tolist()


def largest(number: int) -> int:
    """The largest of the ranks' numbers. Every rank must call it."""
    if not is_distributed():
        return number
    packed = torch.tensor([number], device=_device())
    with _told_if_a_rank_is_lost():
        torch.distributed.all_reduce(packed, op=torch.distributed.ReduceOp.MAX)
    return int(packed)


def everyone(flag: bool) -> bool:
    """Whether ``flag`` is true on every rank."""
    return summed([float(flag)])[0] == world_size()


def from_first_rank(tensor: Tensor) -> Tensor:
    """The first rank's one-dimensional tensor, whatever its length here."""
    if not is_distributed():
        return tensor
    size = torch.tensor([tensor.numel()], device=_device())
    with _told_if_a_rank_is_lost():
        torch.distributed.broadcast(size, src=0)
        received = torch.zeros(int(size), dtype=tensor.dtype, device=_device())
        if torch.distributed.get_rank() == 0:
            received.copy_(tensor)
        torch.distributed.broadcast(received, src=0)
    return received.to(tensor.device)


def gathered_text(text: str) -> list[str]:
    """Every rank's text, in order of rank. Every rank must call it."""
    if not is_distributed():
        return [text]
    own = torch.tensor(list(text.encode()), dtype=torch.uint8, device=_device())
    sizes = [torch.zeros(1, dtype=torch.int64, device=_device()) for _ in range(world_size())]
    with _told_if_a_rank_is_lost():
        torch.distributed.all_gather(sizes, torch.tensor([own.numel()], device=_device()))
        longest = max(int(size) for size in sizes)
        padded = torch.zeros(longest, dtype=torch.uint8, device=_device())
        padded[: own.numel()] = own
        received = [torch.zeros_like(padded) for _ in sizes]
        torch.distributed.all_gather(received, padded)
    return [bytes(buffer[: int(size)].cpu().tolist()).decode() for buffer, size in zip(received, sizes, strict=True)]
