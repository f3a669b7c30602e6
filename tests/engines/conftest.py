"""Two checkpoints, and what one process without any engine does with them."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.engines import cases, launching
from tests.helpers.tiny import save_model, tiny_llama


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """The model that training starts from, and an aligned model that differs from it, so that no term is zero."""
    folder = tmp_path_factory.mktemp("checkpoints")
    start = tiny_llama()
    aligned = tiny_llama()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in aligned.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return save_model(folder / "start", start), save_model(folder / "aligned", aligned)


@pytest.fixture(scope="session")
def one_process(checkpoints, tmp_path_factory):
    """The same steps in this process."""
    from tests.engines.worker import main

    folder = tmp_path_factory.mktemp("one")
    main("none", folder, cases.all_of(checkpoints))
    return folder


@pytest.fixture(scope="session")
def engines(checkpoints, tmp_path_factory):
    """A function from an engine's name to its folder; each engine is started once."""
    folders = {}

    def folder_of(name):
        if name not in folders:
            everything = cases.all_of(checkpoints)
            if name in ("fsdp2", "zero3"):
                everything |= cases.refused(checkpoints)
            folders[name] = launching.start(name, tmp_path_factory.mktemp(name), everything)
        return folders[name]

    return folder_of


def read(folder):
    """Parameters and facts of one case."""
    return load_file(folder / "parameters.safetensors"), json.loads((folder / "facts.json").read_text())
