"""Tokenizers of mistral-common, whose chats exist as token ids only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from pact_plugins.modeling import assistant_header_ids, prompt_ids, response_ids, tokenizer_fingerprint, turn_ids
from pact_plugins.modeling.vocabulary import special_token_ids
from tests.axolotl import runs

pytestmark = pytest.mark.framework


@pytest.fixture(scope="module")
def checkpoint(workplace: Path) -> Path:
    """A random model under a tokenizer that the package itself carries."""
    folder = workplace / "mistral_common"

    def make() -> None:
        import torch
        from transformers import MistralConfig, MistralForCausalLM

        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
        MistralForCausalLM(MistralConfig(vocab_size=131072, **sizes, **heads)).save_pretrained(folder)

    folder.mkdir()
    runs.in_fork(folder, make).succeeded()
    shutil.copy(str(files("mistral_common") / "data" / "tekken_240911.json"), folder / "tekken.json")
    return folder


def tokenizer_of(checkpoint: Path, kind: str) -> Any:
    if kind == "axolotl":
        from axolotl.utils.mistral.mistral_tokenizer import HFMistralTokenizer

        return HFMistralTokenizer.from_pretrained(str(checkpoint))
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(checkpoint)


@pytest.mark.parametrize("kind", ["transformers", "axolotl"])
def test_chats_are_its_own_token_ids(checkpoint: Path, kind: str) -> None:
    tokenizer = tokenizer_of(checkpoint, kind)
    begin, opening, closing, end = 1, 3, 4, 2
    words, answer = (tokenizer.encode(text, add_special_tokens=False) for text in ("Hello", "No, sorry."))
    assert prompt_ids(tokenizer, "Hello") == [begin, opening, *words, closing]
    assert response_ids(tokenizer, "Hello", "No, sorry.") == [*answer, end]
    assert turn_ids(tokenizer, [{"role": "user", "content": "Hello"}], {"content": "No, sorry."}) == (
        [begin, opening, *words, closing],
        answer,
    )
    assert assistant_header_ids(tokenizer) == [begin, closing]
    assert {begin, opening, closing, end} <= special_token_ids(tokenizer)
    assert len(tokenizer_fingerprint(tokenizer)) == 16


def read_back(checkpoint: Path, folder: Path) -> None:
    from pact_plugins.safety_tokens import SafetyTokens

    tokens = SafetyTokens.load(folder / "out" / "pact_safety_tokens.safetensors")
    assert not set(tokens.token_ids.tolist()) & special_token_ids(tokenizer_of(checkpoint, "axolotl"))


def test_a_protected_run(checkpoint: Path, trained: Callable[..., runs.Run]) -> None:
    refusals = [{"prompt": f"Do the wrong thing {number}.", "response": "No, sorry."} for number in range(8)]
    (checkpoint / "refusals.json").write_text(json.dumps(refusals))
    run = trained(
        "mistral_common_run",
        {
            **runs.LORA,
            "base_model": str(checkpoint),
            "tokenizer_use_mistral_common": True,
            "chat_template": None,
            "plugins": [runs.PLUGIN],
            "pact": {"preset": "match", "safety_tokens": {"refusals_path": str(checkpoint / "refusals.json")}},
        },
    ).succeeded()
    assert run.record["optimizer_steps_protected"] == 2
    runs.in_fork(run.folder, partial(read_back, checkpoint, run.folder)).succeeded()
