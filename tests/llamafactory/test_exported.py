"""The YAMLs of `pact natural-world export`: LLaMA-Factory's parser knows every key, and its tokens are TRL's."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pact_lab.frameworks.tokens import of_framework
from pact_llamafactory.arguments import take_stage
from tests.helpers import exported


@pytest.mark.parametrize("method", ["sft", "gate_anchor"])
def test_llamafactory_trains_on_the_tokens_of_trl(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams.parser import _parse_train_args, get_train_args

    (plan,) = [plan for plan in exported.write(tmp_path) if plan.name == f"llamafactory-{method}"]
    monkeypatch.chdir(tmp_path)
    settings = yaml.safe_load((tmp_path / plan.file_name).read_text())
    stage = take_stage(settings)
    assert (stage is not None) == (method == "gate_anchor")
    arguments = {**(settings if stage is None else stage.arguments), "use_cpu": True}
    _parse_train_args(dict(arguments))
    model, data, training, _, _ = get_train_args(arguments)
    tokenizer = exported.tokenizer()
    template = get_template_and_fix_tokenizer(tokenizer, data)
    get_dataset(template, model, data, training, stage="sft", tokenizer=tokenizer)
    found = of_framework(tmp_path / "prepared" / plan.name)
    assert sorted((list(ids), list(labels)) for ids, labels in found.elements()) == sorted(exported.expected())
