"""Whether a model was merged or exported from the weights that a run ended with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pact_plugins.errors import DataError
from pact_plugins.files import parse_json
from pact_plugins.weight_files import ADAPTER_FILE, shards_in

_PREFIX = "base_model.model."
# What a plain LoRA leaves at its default; with anything else, the sum of base and adapter is another one.
_PLAIN = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "fan_in_fan_out": (False,),
    "use_dora": (False, None),
    "alpha_pattern": ({}, None),
    "rank_pattern": ({}, None),
    "target_parameters": (None,),
    "modules_to_save": (None, []),
}


def check_made_from(model: Path, run: Path) -> None:
    """Compare every tensor of ``model`` with what the run's weights make of it.

    A LoRA adapter is added to its base model, tensor by tensor, which must lie on this machine; weights of a whole
    model may have been saved in another dtype.

    Raises:
        DataError: a tensor differs by more than rounding, or nobody can tell.
    """
    with ExitStack() as stack:
        given = _tensors(model, stack)
        expected = _merged(run, stack) if (run / ADAPTER_FILE).is_file() else _tensors(run, stack)
        if not given or set(given) - set(expected) or _untied(set(expected) - set(given)):
            raise DataError(f"{model} does not have the same tensors as what {run} would make")
        for name, value in given.items():
            if not _is_rounded(value(), expected[name]()):
                raise DataError(f"{name} in {model} is not what {run} would make of it")


def _untied(missing: set[str]) -> set[str]:
    """An output embedding that is the input's is saved once or twice, as its writer likes."""
    return {name for name in missing if not name.endswith("lm_head.weight")}


def _tensors(folder: Path, stack: ExitStack) -> dict[str, Callable[[], Any]]:
    from safetensors import safe_open

    files = [stack.enter_context(safe_open(str(file), framework="pt")) for file in shards_in(folder)]
    return {name: _reader(file, name) for file in files for name in file.keys()}  # noqa: SIM118 - no mapping


def _reader(file: Any, name: str) -> Callable[[], Any]:
    return lambda: file.get_tensor(name)


def _merged(run: Path, stack: ExitStack) -> dict[str, Callable[[], Any]]:
    from safetensors import safe_open

    try:
        settings = parse_json((run / "adapter_config.json").read_text(encoding="utf-8"))
        unusual = [key for key, usual in _PLAIN.items() if settings.get(key, usual[0]) not in usual]
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{run / 'adapter_config.json'} cannot be read: {error}") from error
    if unusual:
        raise DataError(f"an adapter with {', '.join(unusual)} is not compared with what was merged from it")
    base = _tensors(_folder_of(str(settings.get("base_model_name_or_path"))), stack)
    adapter = stack.enter_context(safe_open(str(run / ADAPTER_FILE), framework="pt"))
    pairs = {name.removeprefix(_PREFIX).rpartition(".lora_A.")[0]: name for name in adapter.keys() if "lora_A" in name}  # noqa: SIM118
    for module, name in pairs.items():
        if f"{module}.weight" not in base:
            raise DataError(f"the adapter in {run} has {module}, which its base model lacks")
        base[f"{module}.weight"] = _sum(base[f"{module}.weight"], adapter, name, settings)
    return base


def _sum(base: Callable[[], Any], adapter: Any, name: str, settings: Mapping[str, Any]) -> Callable[[], Any]:
    def compute() -> Any:
        down = adapter.get_tensor(name).float()
        up = adapter.get_tensor(name.replace("lora_A", "lora_B")).float()
        rank = down.shape[0]
        scale = settings["lora_alpha"] / (rank**0.5 if settings.get("use_rslora") else rank)
        return base().float() + scale * (up @ down)

    return compute


def _folder_of(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True, allow_patterns=["*.safetensors*"]))
    except (HFValidationError, LocalEntryNotFoundError) as error:
        raise DataError(f"the adapter's base model {name} is not on this machine, to compare the sum with") from error


def _is_rounded(given: Any, expected: Any) -> bool:
    """Whether two tensors are the same number up to the rounding of the one with fewer digits."""
    import torch

    if given.shape != expected.shape:
        return False
    digits = max(torch.finfo(one.dtype).eps if one.is_floating_point() else 0.0 for one in (given, expected))
    given, expected = given.float(), expected.float()
    # Frameworks add in the dtype of the base, so that delta and sum are rounded, each by half a last digit.
    return bool(((given - expected).abs() <= 2 * digits * (expected.abs() + expected.abs().mean())).all())
