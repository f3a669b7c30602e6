"""Reading the golden files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

FOLDER = Path(__file__).parent.parent / "goldens"


@dataclass(frozen=True)
class Golden:
    """The tensors and the settings of one file."""

    tensors: dict[str, Tensor]
    settings: dict[str, Any]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]


def golden_names(prefix: str) -> list[str]:
    """File names without their suffix."""
    return sorted(path.stem for path in FOLDER.glob(f"{prefix}_*.safetensors"))


def read_golden(name: str) -> Golden:
    """Read one file."""
    with safe_open(str(FOLDER / f"{name}.safetensors"), framework="pt") as reader:
        tensors = {key: reader.get_tensor(key) for key in reader.keys()}  # noqa: SIM118
        return Golden(tensors, {key: json.loads(value) for key, value in reader.metadata().items()})
