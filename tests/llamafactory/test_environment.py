"""The set-up of the environment, where a CPU build of torch and the index's wheels do not fit together."""

from __future__ import annotations

import torch
import transformers.image_utils
from llamafactory.data import mm_plugin


def test_llamafactory_imports_beside_this_torch() -> None:
    """A torchvision of another build would have stopped these imports, so would a torchaudio linked against CUDA."""
    assert torch.__version__
    assert mm_plugin.torchaudio.functional.resample is not None
    assert transformers.image_utils.ImageInput is not None
