from __future__ import annotations

import pytest

from pact_lab.tiny_world import TaskExample, finetuning_mixture, is_correct, task_examples
from pact_lab.tiny_world.corpora import base_documents
from pact_lab.tiny_world.tasks import TASKS
from pact_plugins.errors import ConfigurationError


def test_examples_are_deterministic_and_held_out():
    examples = task_examples(300, seed=7)
    assert examples == task_examples(300, seed=7)
    assert examples != task_examples(300, seed=8)
    trained = {row.prompt for seed in range(3) for row in finetuning_mixture(seed=seed) if row.kind == "task"}
    assert not trained & {example.prompt for example in examples}


def test_held_out_text_is_not_in_the_base_corpus():
    text = "\n".join(document.text for document in base_documents(2000, seed=0))
    lines = [example.prompt.splitlines()[0].removeprefix("Review: ") for example in task_examples(300, seed=0)]
    assert not [line for line in lines if line in text and not line.startswith("Headline: ")]
    assert not [line for line in lines if line.startswith("Headline: ") and line + "." in text]


@pytest.mark.parametrize("task", TASKS)
def test_gold_responses_are_correct_and_wrong_ones_are_not(task):
    examples = task_examples(200, seed=0, tasks=(task,))
    for example in examples:
        assert is_correct(example.response, example)
        wrong = next(other for other in examples if other.answer != example.answer)
        assert not is_correct(wrong.response, example)
        assert not is_correct("", example)


def test_naming_every_answer_is_not_correct():
    example = TaskExample("Review: ...", "The review is positive.", "positive")
    assert not is_correct("The review is positive or negative.", example)


def test_answers_are_balanced():
    answers = [example.answer for example in task_examples(2000, seed=0, tasks=("sentiment",))]
    assert answers.count("positive") / len(answers) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("arguments", [{"tasks": ("poetry",)}, {"tasks": ()}, {"split": "dev"}, {"count": -1}])
def test_bad_arguments(arguments):
    with pytest.raises(ConfigurationError):
        task_examples(**{"count": 3, "seed": 0, **arguments})


def test_routing_is_a_fixed_table_with_several_destinations():
    examples = task_examples(1500, seed=0, split="train", tasks=("routing",))
    table = {}
    for example in examples:
        words = example.prompt.split()
        cell = (words[words.index("left") + 2], words[words.index("at") + 2])
        assert table.setdefault(cell, example.answer) == example.answer
    assert len(table) == 24
    counts = [list(table.values()).count(answer) for answer in set(table.values())]
    assert len(counts) == 6
    assert max(counts) < 24 / 3


def test_the_halves_of_the_test_split_share_no_question():
    choosing, reporting = (
        {example.prompt for example in task_examples(200, seed=0, split=half, tasks=("routing",))}
        for half in ("choosing", "reporting")
    )
    assert not choosing & reporting
