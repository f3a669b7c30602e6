"""What can be known of a run before LLaMA-Factory is imported: that model, data and files are named and there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pact_llamafactory.arguments import BLOCK
from pact_plugins.cli.options import a_model, named_files_exist
from pact_plugins.config import PACTConfig
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import parse_json

# LLaMA-Factory's own defaults and words.
_DEFAULT_FOLDER = "data"
_INDEX = "dataset_info.json"
_ELSEWHERE = ("ONLINE", "REMOTE:")


def check_places(arguments: Mapping[str, Any] | list[str], config: PACTConfig) -> None:
    """Look at a YAML's keys; options of the command line are LLaMA-Factory's own to read.

    Raises:
        ConfigurationError: names the key, and what is not there.
    """
    named_files_exist(config, BLOCK)
    if not isinstance(arguments, Mapping):
        return
    model = arguments.get("model_name_or_path")
    if not model:
        raise ConfigurationError("model_name_or_path: is not set; name the aligned model that training starts from")
    a_model(str(model), "model_name_or_path")
    names = arguments.get("dataset")
    if not names:
        raise ConfigurationError(f"dataset: is not set; name one or more of the sets in {_INDEX}")
    folder = arguments.get("dataset_dir", _DEFAULT_FOLDER)
    if isinstance(names, str) and isinstance(folder, str) and not folder.startswith(_ELSEWHERE):
        _check_data([name.strip() for name in names.split(",")], Path(folder))


def _check_data(names: list[str], folder: Path) -> None:
    index = folder / _INDEX
    try:
        known = parse_json(index.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"dataset_dir: {index} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"dataset_dir: {index} is not JSON: {error}") from None
    for name in names:
        if not isinstance(known, dict) or name not in known:
            raise ConfigurationError(f"dataset: {name} is not in {index}, which lists {', '.join(list(known)[:20])}")
        file = known[name].get("file_name") if isinstance(known[name], dict) else None
        if isinstance(file, str) and not (folder / file).exists():
            raise ConfigurationError(f"dataset: {name}: no such file: {folder / file}")
