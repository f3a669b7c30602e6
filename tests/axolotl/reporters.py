"""What W&B and TensorBoard have written, read back from their files."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

Series = dict[str, list[float]]
# https://github.com/google/leveldb/blob/main/doc/log_format.md, after a header of W&B's own.
_HEADER, _BLOCK = 7, 32768
_WHOLE, _FIRST, _LAST = 1, 2, 4


def tensorboard(folder: Path) -> Series:
    """Every scalar of the one run below ``folder``."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = folder.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file.parent)).Reload()
    return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def wandb(folder: Path) -> Series:
    """Every number of the one offline run below ``folder``."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.rglob("run-*.wandb")
    series: Series = {}
    for content in _records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        for item in record.history.item:
            value = json.loads(item.value_json)
            if isinstance(value, int | float):
                series.setdefault(item.key or "/".join(item.nested_key), []).append(value)
    return series


def _records(content: bytes) -> Iterator[bytes]:
    position, parts = _HEADER, b""
    while position + _HEADER <= len(content):
        if _BLOCK - position % _BLOCK < _HEADER:
            position += _BLOCK - position % _BLOCK
            continue
        _checksum, length, kind = struct.unpack_from("<IHB", content, position)
        position += _HEADER
        part = content[position : position + length]
        parts = part if kind in (_WHOLE, _FIRST) else parts + part
        position += length
        if kind in (_WHOLE, _LAST):
            yield parts
