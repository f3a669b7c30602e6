"""Nothing that is read can run: no pickle, no evaluated text, no code from a model's folder unless asked for."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pact_evals.runs.models import ModelSpec, require_chat_template
from pact_plugins.cli.loading import load_model
from pact_plugins.errors import ConfigurationError
from pact_plugins.modeling import model_parts_of
from pact_plugins.reference.aligned_checkpoint import load_aligned_model
from tests.helpers.tiny import save_model, tiny_llama

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("pact_plugins", "integrations", "evals", "lab", "benchmarks", "examples", "docs")
_FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
}
_FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
_FORBIDDEN_METHODS = {
    ("yaml", "load"), ("yaml", "unsafe_load"), ("yaml", "full_load"), ("os", "system"), ("os", "popen"),
    ("numpy", "fromfile"), ("pandas", "read_pickle"), ("torch", "save"),
}  # fmt: skip


def complaints(text: str) -> Iterator[str]:
    """What of ``text`` could run what it reads."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            yield from (f"imports {name}" for name in names if name.split(".")[0] in _FORBIDDEN_MODULES)
        elif isinstance(node, ast.Call):
            yield from _of_call(node)


def _of_call(node: ast.Call) -> Iterator[str]:
    said = {keyword.arg: getattr(keyword.value, "value", "?") for keyword in node.keywords}
    if isinstance(node.func, ast.Name) and node.func.id in _FORBIDDEN_CALLS:
        yield f"calls {node.func.id}"
    if isinstance(node.func, ast.Attribute):
        owner = getattr(node.func.value, "id", "")
        if (owner, node.func.attr) in _FORBIDDEN_METHODS:
            yield f"calls {owner}.{node.func.attr}"
        if (owner, node.func.attr) == ("torch", "load") and said.get("weights_only") is not True:
            yield "torch.load without weights_only=True"
    if said.get("allow_pickle", False) is not False:
        yield "allow_pickle"
    if said.get("trust_remote_code", False) is not False:
        yield "trust_remote_code"
    if said.get("shell", False) is not False:
        yield "a shell"


def test_no_source_runs_what_it_reads():
    found = {}
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            if reasons := list(complaints(file.read_text(encoding="utf-8"))):
                found[str(file.relative_to(ROOT))] = reasons
    assert found == {}


@pytest.fixture
def model_with_code(tmp_path, monkeypatch) -> Path:
    """A checkpoint that brings its own Python, which leaves a mark when it runs."""
    folder = tmp_path / "model"
    save_model(folder, tiny_llama())
    mark = tmp_path / "it ran"
    for name in ("config", "tokenizer_config"):
        file = folder / f"{name}.json"
        content = json.loads(file.read_text())
        if name == "config":
            content |= {"model_type": "unheard_of", "architectures": ["Unheard"]}
        content["auto_map"] = {
            "AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model", "AutoTokenizer": ["code.T", None],
        }  # fmt: skip
        file.write_text(json.dumps(content))
    (folder / "code.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    # transformers would ask at the keyboard.
    monkeypatch.setattr("builtins.input", lambda *_: "n")
    yield folder
    assert not mark.exists()


def test_a_models_own_code_does_not_run(model_with_code):
    with pytest.raises(ConfigurationError, match=r"MODEL: .* cannot be loaded"):
        load_model(str(model_with_code), device="cpu")


def test_nor_where_a_reference_is_loaded_or_a_template_looked_for(model_with_code):
    with pytest.raises(ConfigurationError):
        load_aligned_model(str(model_with_code), model_parts_of(tiny_llama()))
    require_chat_template(ModelSpec("m", str(model_with_code)))


def test_it_is_asked_for_by_name():
    spec = ModelSpec("m", "somewhere", arguments={"trust_remote_code": True})
    assert spec.model_args()["trust_remote_code"] is True
    assert "trust_remote_code" not in ModelSpec("m", "somewhere").model_args()
