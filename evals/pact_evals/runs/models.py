"""Which models to evaluate: folders, hub ids, adapters; each under a label."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pact_evals.runs.secrets import refuse_secrets
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import can_only_be_a_path, no_such_folder, parse_json
from pact_plugins.model_card.evaluation import FILE_NAME as EVALUATION
from pact_plugins.run_record import FILE_NAME as RECORD
from pact_plugins.run_record import SAFETY_TOKENS_FILE, TRAINER_STATE_FILE

_LABEL = re.compile(r"\w(?:[\w .+@-]*[\w+@-])?")
_ADAPTER_FILE = "adapter_config.json"
_TOKENIZER_FILE = "tokenizer_config.json"
_GGUF = "gguf_file"
_GIVEN_BY_US = ("pretrained", "peft", "lora_local_path")
_HUGGING_FACE = ("hf", "hf-auto", "huggingface")
_LOCAL_BACKENDS = (*_HUGGING_FACE, "vllm", "sglang")
_WEIGHT_FILES = (".safetensors", ".bin", ".pt", ".gguf", ".json", ".jinja", ".model", ".txt")
# What a training or an evaluation leaves beside a model.
_NO_WEIGHTS = {TRAINER_STATE_FILE, RECORD, SAFETY_TOKENS_FILE, EVALUATION}
_HUB_TIMEOUT = 10.0  # seconds
_VLLM_RANK = 16  # vLLM refuses adapters of a higher rank unless told


@dataclass(frozen=True)
class ModelSpec:
    """One model to evaluate: a folder or hub id, an adapter folder on it or None, and how lm-eval loads them.

    A GGUF file is the folder that it lies in, with ``gguf_file`` among the arguments.

    `served`: `model` is a name at an endpoint, which says this of it.
    """

    label: str
    model: str
    adapter: str | None = None
    backend: str = "hf"
    arguments: dict[str, Any] = field(default_factory=dict)
    served: str | None = None

    def model_args(self) -> dict[str, Any]:
        """What lm-eval's backend is given.

        Raises:
            ConfigurationError: the backend takes no adapters.
        """
        given = {"pretrained": self.model, **self.arguments}
        if self.adapter is None:
            return given
        if (Path(self.adapter) / _TOKENIZER_FILE).is_file():
            given.setdefault("tokenizer", self.adapter)  # training may have set the template or added tokens
        if self.backend in _HUGGING_FACE:
            return {**given, "peft": self.adapter}
        if self.backend == "vllm":
            rank = int(_read_adapter(Path(self.adapter)).get("r") or _VLLM_RANK)
            return {"max_lora_rank": max(rank, _VLLM_RANK), **given, "lora_local_path": self.adapter}
        raise ConfigurationError(
            f"{self.label}: the backend {self.backend!r} takes no adapter; use hf or vllm, or merge {self.adapter}"
        )

    def identity(self) -> dict[str, Any]:
        """What stands in the results, and decides whether stored results are those of this model."""
        return {
            "model": self.model,
            "adapter": self.adapter,
            "backend": self.backend,
            "arguments": dict(self.arguments),
            "weights": self._weights(),
            "adapter_weights": folder_fingerprint(Path(self.adapter)) if self.adapter else None,
        }

    def _weights(self) -> str:
        if self.served is not None:
            return f"{self.model}@{self.served}"
        if Path(self.model).is_dir():
            return folder_fingerprint(Path(self.model), self.arguments.get(_GGUF))
        revision = self.arguments.get("revision")
        commit = _hub_commit(self.model, revision) if self.backend in _LOCAL_BACKENDS else None
        return f"{self.model}@{commit or revision or 'unknown'}"


def read_specs(
    models: Sequence[str],
    adapters: Sequence[str] = (),
    *,
    backend: str = "hf",
    arguments: Mapping[str, Any] = MappingProxyType({}),
) -> list[ModelSpec]:
    """The models that were asked for, each `PATH` or `LABEL=PATH`; adapters stand on the one model that is given.

    Args:
        models: folders, hub ids, or adapter folders (the base is read from their `adapter_config.json`).
        arguments: further arguments of the backend.

    Raises:
        ConfigurationError: a folder is missing or no adapter, labels clash, or it is unclear what an adapter stands on.
    """
    for name in _GIVEN_BY_US:
        if name in arguments:
            raise ConfigurationError(f"--model-args: {name} is what MODEL and --adapter say; leave it out")
    refuse_secrets(arguments, "HF_TOKEN" if backend in _LOCAL_BACKENDS else "OPENAI_API_KEY")
    specs = [_read_model(*_split(text), backend, arguments) for text in models]
    if adapters and len(specs) != 1:
        raise ConfigurationError(
            f"--adapter stands on one MODEL, but {len(specs)} are given; "
            f"give the adapter's folder as a MODEL, its {_ADAPTER_FILE} names the base"
        )
    if adapters and specs[0].adapter:
        raise ConfigurationError(f"--adapter: {specs[0].adapter} is an adapter itself; give its base as MODEL")
    for text in adapters:
        label, place = _split(text)
        folder = Path(place)
        _read_adapter(folder)
        specs.append(ModelSpec(label or _default_label(place), specs[0].model, str(folder), backend, dict(arguments)))
    refuse_clashes(specs)
    return specs


def folder_fingerprint(folder: Path, only: str | None = None) -> str:
    """16 hexadecimal digits that change when the model in a folder does, or the one file of that name.

    Over names, sizes and times of its files: reading all weights would take minutes.
    """
    digest = hashlib.sha256()
    for file in _weight_files(folder):
        if only in (None, file.name):
            status = file.stat()
            digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def last_change(folder: Path) -> float:
    """When the model in a folder was last written, in seconds since 1970."""
    return max((file.stat().st_mtime for file in _weight_files(folder)), default=0.0)


def _weight_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in _WEIGHT_FILES and file.name not in _NO_WEIGHTS)


def require_chat_template(spec: ModelSpec) -> None:
    """Make sure that a local model's tokenizer has a chat template. A tokenizer that cannot be loaded fails later.

    Raises:
        ConfigurationError: it has none.
    """
    if spec.backend not in _LOCAL_BACKENDS:
        return  # an endpoint applies its own
    from transformers import AutoTokenizer

    arguments = spec.model_args()
    place = arguments.get("tokenizer", spec.model)
    kept = ["revision", "trust_remote_code", *([] if "tokenizer" in arguments else [_GGUF])]
    options = {name: arguments[name] for name in kept if name in arguments}
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
    except Exception:  # whatever it is, the evaluation reports it for this model alone
        return
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigurationError(
            f"{spec.label}: the tokenizer of {place} has no chat template, behind which an aligned model refuses; "
            "set one, or evaluate without: --no-chat-template"
        )


def label_and_name(text: str) -> tuple[str, str]:
    """Of `NAME` or `LABEL=NAME`, a name at a server; what is no label belongs to the name."""
    label, separator, name = text.partition("=")
    if separator and name and _LABEL.fullmatch(label):
        return label, name
    return re.sub(r"[^\w.+@-]+", "-", text.rsplit("/", 1)[-1]).strip(".-") or "model", text


def _split(text: str) -> tuple[str | None, str]:
    """Label or None, and path or hub id. A path may hold an equals sign itself."""
    label, separator, place = text.partition("=")
    if not separator or Path(text).exists():
        return None, _expand(text)
    if not _LABEL.fullmatch(label):
        raise ConfigurationError(f"{text!r}: the label {label!r} must be letters, digits and . + - _ @, as a file name")
    return label, _expand(place)


def _expand(place: str) -> str:
    if not place:
        raise ConfigurationError("an empty MODEL; give a folder or a hub id")
    expanded = Path(place).expanduser()
    if expanded.is_file():
        if expanded.suffix != ".gguf":
            raise ConfigurationError(f"{place} is a file; give the model's folder")
        return str(expanded)
    if not expanded.is_dir() and can_only_be_a_path(place):
        raise ConfigurationError(f"MODEL: {place} cannot be loaded: {no_such_folder(place)}")
    return str(expanded) if expanded.is_dir() else place


def _read_model(label: str | None, place: str, backend: str, arguments: Mapping[str, Any]) -> ModelSpec:
    name = label or _default_label(place)
    if Path(place).is_file():
        if backend not in _HUGGING_FACE:
            raise ConfigurationError(f"{place}: a GGUF file is read by the backend hf, or by a server (--endpoint)")
        file = Path(place)
        return ModelSpec(name, str(file.parent), None, backend, {**arguments, _GGUF: file.name})
    if not (Path(place) / _ADAPTER_FILE).is_file():
        return ModelSpec(name, place, None, backend, dict(arguments))
    base = _read_adapter(Path(place)).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ConfigurationError(
            f"{place}/{_ADAPTER_FILE} names no base model; give it: pact eval BASE --adapter {place}"
        )
    if not Path(base).is_dir() and can_only_be_a_path(base):
        raise ConfigurationError(
            f"{place}/{_ADAPTER_FILE} names the base model {base}, which is not here; "
            f"say where it is: pact eval BASE --adapter {place}"
        )
    return ModelSpec(name, base, place, backend, dict(arguments))


def _read_adapter(folder: Path) -> dict[str, Any]:
    file = folder / _ADAPTER_FILE
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{folder} is no adapter folder: no {_ADAPTER_FILE} in it") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{file} holds no JSON object")
    return content


def _default_label(place: str) -> str:
    """The last part of the path or hub id, as a file name."""
    name = Path(place).resolve().name if Path(place).is_dir() else place.rsplit("/", 1)[-1]
    return re.sub(r"[^\w.+@-]+", "-", name).strip(".-") or "model"


def refuse_clashes(specs: Sequence[ModelSpec]) -> None:
    """Raise ConfigurationError where two have one label."""
    # Labels become folders, and some file systems do not tell A from a.
    counts = Counter(spec.label.casefold() for spec in specs)
    for spec in specs:
        if counts[spec.label.casefold()] > 1:
            raise ConfigurationError(f"two models are called {spec.label!r}; name them with LABEL=PATH")


def _hub_commit(name: str, revision: str | None) -> str | None:
    """The commit that will be loaded: the hub's, or the one in the local cache where the hub is out of reach."""
    from huggingface_hub import model_info, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return model_info(name, revision=revision, timeout=_HUB_TIMEOUT).sha
    except HFValidationError:
        return None  # no hub id either; loading it says so
    except Exception:  # offline, gated, unknown: the hub client raises many kinds
        found = try_to_load_from_cache(name, "config.json", revision=revision)
        return Path(found).parent.name if isinstance(found, str) else None
