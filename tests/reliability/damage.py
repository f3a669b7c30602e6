"""Ways in which a file comes back other than it was written."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

Damage = Callable[[bytes, random.Random], bytes]


def truncated(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def zeroed(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    length = rng.randrange(1, 1 + len(content) // 4)
    return content[:start] + bytes(min(length, len(content) - start)) + content[start + length :]


def shuffled(content: bytes, rng: random.Random) -> bytes:
    """Two blocks exchanged, as a file system may after a crash."""
    first, second, third = sorted(rng.randrange(len(content)) for _ in range(3))
    return content[:first] + content[second:third] + content[first:second] + content[third:]


def doubled(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[: start + rng.randrange(64)] + content[start:]


def lengthened(content: bytes, rng: random.Random) -> bytes:
    return content + rng.randbytes(rng.randrange(1, 200))


def foreign(content: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"", b"{", b"[]", b"null", b"\x80\x04.", rng.randbytes(400), b'{"format": "x"}', b"\xff\xfe"))


BYTES: tuple[Damage, ...] = (truncated, flipped, flipped, flipped, zeroed, shuffled, doubled, lengthened, foreign)


# What follows is for safetensors files: eight bytes of length, a JSON header, the tensors.
def huge_header(content: bytes, rng: random.Random) -> bytes:
    claimed = rng.choice((2**63, 2**64 - 1, 10**8 + 1, 10**7, len(content), 0, 1))
    return struct.pack("<Q", claimed) + content[8:]


def _with_header(content: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def bad_header(content: bytes, rng: random.Random) -> bytes:
    """Another shape, dtype, offset or name, path parts among them."""

    def change(header: dict[str, Any]) -> None:
        name = rng.choice([key for key in header if key != "__metadata__"])
        kind = rng.choice(("shape", "dtype", "offsets", "name", "drop", "copy"))
        if kind == "shape":
            header[name]["shape"] = rng.choice(([], [0], [2, 3], [-1], [2**62, 4], ["1"], None, [1.5]))
        elif kind == "dtype":
            header[name]["dtype"] = rng.choice(("F64", "BF16", "I32", "U8", "BOOL", "F8_E4M3", "nothing", 7))
        elif kind == "offsets":
            header[name]["data_offsets"] = rng.choice(([0, 0], [5, 2], [0, 2**63], [-8, 0], None))
        elif kind == "name":
            header[rng.choice(("../../" + name, "/etc/" + name, name + "\x00", "\u202e" + name))] = header.pop(name)
        elif kind == "drop":
            del header[name]
        else:
            header[rng.choice(("copy", "../" + name))] = header[name]

    return _with_header(content, change)


_ODD = (
    "", "{", "NaN", "-1", "0", "true", "null", '"x"', "[]", "{}", "[[[[1]]]]", "[" * 100_000, "9" * 5000, "1e999",
    '["a"]', '{"refusal_opening_tokens": [99999999]}', "[null]",
)  # fmt: skip


def bad_metadata(content: bytes, rng: random.Random) -> bytes:
    """One value of the metadata is another one, missing, or not JSON; numbers and lists without an end among them."""

    def change(header: dict[str, Any]) -> None:
        metadata = header.get("__metadata__") or {}
        name = rng.choice(sorted(metadata) or ["format"])
        kind = rng.choice(("odd", "odd", "drop", "none", "more"))
        if kind == "odd":
            metadata[name] = rng.choice(_ODD)
        elif kind == "drop":
            metadata.pop(name, None)
        elif kind == "more":
            metadata[rng.choice(("more", "../x", ""))] = rng.choice(_ODD)
        header["__metadata__"] = {} if kind == "none" else metadata

    return _with_header(content, change)


def bad_values(content: bytes, rng: random.Random) -> bytes:
    """A whole safetensors file with other numbers: not finite, beyond any vocabulary, negative, doubled, of another
    dtype or shape."""
    (length,) = struct.unpack("<Q", content[:8])
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__")
    tensors = load_tensors(content)
    name = rng.choice(sorted(tensors))
    tensors[name] = _changed(tensors[name], rng)
    return save_tensors(tensors, metadata=metadata)


def _changed(tensor: Tensor, rng: random.Random) -> Tensor:
    kinds: list[Callable[[Tensor], Tensor]] = [
        lambda one: one.double() if one.is_floating_point() else one.int(),
        lambda one: one.bfloat16(),
        lambda one: one.unsqueeze(0),
        lambda one: one[:0],
        lambda one: one[:-1],
        lambda one: torch.cat([one, one]),
        lambda one: one.flip(0),
        lambda one: one.clone() * 0 - 1,
        lambda one: one + 2**20,
    ]
    if tensor.is_floating_point():
        kinds += [lambda one: one * float("nan"), lambda one: one / 0]
    return rng.choice(kinds)(tensor)


SAFETENSORS: tuple[Damage, ...] = (*BYTES, huge_header, bad_header, bad_header, bad_metadata, bad_metadata, bad_values)


def without_checksum(content: bytes) -> bytes:
    """The file as it would have been before there was a checksum."""

    def change(header: dict[str, Any]) -> None:
        header["__metadata__"].pop("checksum", None)

    return _with_header(content, change)
