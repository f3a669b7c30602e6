"""``stage: pact`` and the ``pact:`` block in both forms that LLaMA-Factory reads."""

from __future__ import annotations

import pytest

from pact_llamafactory.arguments import is_on, take_stage
from pact_plugins import PACTConfig
from pact_plugins.errors import ConfigurationError


def test_the_stage_becomes_sft_and_the_block_is_gone() -> None:
    arguments = {"stage": "pact", "pact": {"preset": "match", "term": {"weight": 1.5}}, "learning_rate": 1e-4}
    stage = take_stage(arguments)
    assert stage is not None
    assert stage.arguments == {"stage": "sft", "learning_rate": 1e-4}
    assert stage.config().term.weight == 1.5
    assert arguments["stage"] == "pact"
    assert "pact" in arguments


@pytest.mark.parametrize("arguments", [{"stage": "pact"}, {"stage": "pact", "pact": None}, ["--stage", "pact"]])
def test_without_a_block_the_defaults_hold(arguments: object) -> None:
    stage = take_stage(arguments)  # type: ignore[arg-type]
    assert stage is not None
    assert stage.config() == PACTConfig()


@pytest.mark.parametrize("arguments", [{"stage": "dpo"}, {}, ["--stage", "sft"], ["--do_train"], ["-h"]])
def test_other_stages_are_not_ours(arguments: object) -> None:
    assert take_stage(arguments) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({"pact": {"preset": "match", "term": {"weight": 1}}}, "not set, which means 'sft'"),
        ({"stage": "sft", "pact": None}, "'sft'"),
        ({"stage": "dpo", "pact": {}}, "'dpo'"),
        (["--stage", "sft", "--pact.term.weight", "1"], "'sft'"),
        (["--pact", "{}"], "not set"),
    ],
)
def test_a_bare_block_never_trains_in_silence(arguments: object, shown: str) -> None:
    with pytest.raises(ConfigurationError, match="training would go on without PACT") as error:
        take_stage(arguments)  # type: ignore[arg-type]
    assert shown in str(error.value)


def test_a_wrong_key_is_named_with_the_nearest_one() -> None:
    stage = take_stage({"stage": "pact", "pact": {"term": {"wieght": 1}}})
    assert stage is not None
    with pytest.raises(ConfigurationError, match=r"pact\.term.wieght: unknown key; did you mean 'weight'"):
        stage.config()


RANK = ["--lora_rank", "4"]


@pytest.mark.parametrize(
    "options",
    [
        [
            "--stage",
            "pact",
            "--pact.term.weight",
            "1.5",
            "--pact.term.mixture.top_p",
            "0.8",
            "--pact.term.objective",
            "published",
            "--lora_rank",
            "4",
        ],
        [
            "--stage=pact",
            "--pact.term.weight=1.5",
            "--pact.term.mixture.top_p=0.8",
            "--pact.term.objective=published",
            "--lora_rank",
            "4",
        ],
        [
            "--pact",
            '{"preset": "published", "term": {"weight": 3, "mixture": {"top_p": 0.8}}}',
            "--pact.term.weight=1.5",
            "--stage",
            "pact",
            "--lora_rank",
            "4",
        ],
    ],
)
def test_options_of_the_command_line(options: list[str]) -> None:
    stage = take_stage(options)
    assert stage is not None
    assert sorted(stage.arguments) == sorted(["--stage", "sft", "--lora_rank", "4"])
    assert (stage.config().term.weight, stage.config().term.mixture.top_p) == (1.5, 0.8)


def test_an_option_that_is_no_value_is_named() -> None:
    with pytest.raises(ConfigurationError, match="--pact"):
        take_stage(["--stage", "pact", "--pact", "{term: [1"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"use_x": True}, True),
        ({"use_x": "true"}, True),
        ({"use_x": False}, False),
        ({"use_x": "False"}, False),
        ({}, False),
        (["--use_x"], True),
        (["--use_x", "--other"], True),
        (["--use_x", "false"], False),
        (["--use_x=True"], True),
        (["--use_xy"], False),
    ],
)
def test_switches_in_both_forms(arguments: object, expected: bool) -> None:
    assert is_on(arguments, "use_x") is expected  # type: ignore[arg-type]
