"""Python of the pages: what it imports exists, and what can run in seconds runs."""

from __future__ import annotations

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

from pact_lab import tiny_world
from tests.docs.pages import blocks

# The hooks' examples are whole packages: tests/test_plugins.py loads and uses each of them.
PYTHON = {
    f"{block.page}:{index}": block.text
    for index, block in enumerate(blocks())
    if block.page != "docs/hooks.md" and block.language == "python"
}


def block(page: str, words: str) -> str:
    (found,) = [text for place, text in PYTHON.items() if place.startswith(page) and words in text]
    return found


def changed(text: str, **exchanges: str) -> str:
    """The block for the small model and a CPU; every exchange has to find its place."""
    for old, new in exchanges.values():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize("place", PYTHON)
def test_what_is_imported_exists(place):
    for node in ast.walk(ast.parse(PYTHON[place])):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.fixture
def names(tmp_path, refusals_path):
    """What the blocks take for granted: a model, rows, arguments for a CPU."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig

    arguments = SFTConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, max_steps=1, report_to=[], save_strategy="no"
    )
    return {
        "aligned": str(tiny_world.aligned_path()),
        "dataset": Dataset.from_list(tiny_world.finetuning_rows(8, seed=0)),
        "arguments": arguments,
        "lora_config": LoraConfig(r=4, target_modules="all-linear"),
        "settings": {"preset": "match", "safety_tokens": {"refusals_path": str(refusals_path)}},
    }


def test_python_is_fenced():
    assert [block for block in blocks() if not block.language and re.search(r"^from \w+ import", block.text)] == []


@pytest.mark.framework
def test_the_first_lines_train(names, tmp_path):
    assert block("docs/quick_start.md", "trainer.train()") == block("README.md", "trainer.train()")
    exec(
        changed(
            block("README.md", "trainer.train()"),
            model=('"Qwen/Qwen3-4B-Instruct-2507"', "aligned"),
            callback=("[PACTCallback]", "[PACTCallback(settings)], args=arguments"),
        ),
        names,
    )
    assert json.loads(Path(tmp_path, "pact.json").read_text())["optimizer_steps_protected"] == 1


@pytest.mark.framework
def test_trl_with_arguments_and_with_the_trainer(names):
    exec(
        changed(
            block("docs/trl.md", "peft_config="),
            model=('"meta-llama/Llama-3.1-8B-Instruct"', "aligned"),
            arguments=('SFTConfig(output_dir="out")', "arguments"),
        ),
        names,
    )
    trainer = names["trainer"]
    before = len(trainer.callback_handler.callbacks)
    exec(block("docs/trl.md", "add_callback"), {**names, "config": names["PACTConfig"]()})
    assert len(trainer.callback_handler.callbacks) == before + 1


def test_the_keyword_judge_says_what_the_page_says():
    text = block("docs/judges.md", "get_judge")
    *_, expression, comment = text.strip().splitlines()
    values: dict = {}
    exec(text.replace(expression, f"said = {expression}"), values)
    assert repr(values["said"]) == comment.removeprefix("# ")


@pytest.mark.framework
def test_evaluation_of_a_model_in_memory():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = tiny_world.aligned_path()
    values = {"model": AutoModelForCausalLM.from_pretrained(path), "tokenizer": AutoTokenizer.from_pretrained(path)}
    text = changed(block("docs/evals.md", "evaluate_model"), rows=("batch_size=16", "batch_size=4, limit=4"))
    *_, expression = text.strip().splitlines()
    exec(text.replace(expression, f"said = {expression}"), values)
    assert 0 <= values["said"] <= 1


def test_the_audit_takes_what_the_page_gives_it():
    import inspect

    from pact_plugins.audit import AuditReport, audit

    text = block("docs/audit.md", "audit(")
    call = next(node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    inspect.signature(audit).bind(*call.args, **{keyword.arg: keyword.value for keyword in call.keywords})
    read = {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
    assert read <= set(dir(AuditReport)) | set(AuditReport.__dataclass_fields__)
