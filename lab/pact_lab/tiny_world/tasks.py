"""Downstream tasks with gold answers: sentiment and topic (the demo's), arithmetic (hard for a model of this size), and
routing (a table to learn by heart, so that rows which are not learnt are missing from the accuracy).

Examples are split by a hash of the prompt, as requests are: `task_examples` draws from the held-out 20 %.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pact_lab.tiny_world import vocabulary
from pact_lab.tiny_world.requests import Split, in_split
from pact_plugins.errors import ConfigurationError

Task = Literal["sentiment", "topic", "arithmetic", "routing"]
TASKS: tuple[Task, ...] = get_args(Task)
PRETRAINING_TASKS: tuple[Task, ...] = ("sentiment", "topic", "arithmetic")
DEMO_TASKS: tuple[Task, ...] = ("sentiment", "topic")

# As many cells as eight hundred rows can teach.
ROUTING_ITEMS, ROUTING_PLACES, ROUTING_DESTINATIONS = 6, 4, 6
_ANSWER_WORDS = {"positive", "negative", *vocabulary.TOPICS, *vocabulary.SLOTS["building"]}


@dataclass(frozen=True)
class TaskExample:
    """A question, its gold response, and the one word of the response that is scored."""

    prompt: str
    response: str
    answer: str


def review(rng: random.Random) -> tuple[str, str]:
    """A film review and its sentiment, `positive` or `negative`."""
    positive = rng.random() < 0.5
    same, opposite = (vocabulary.POSITIVE, vocabulary.NEGATIVE)[:: 1 if positive else -1]
    (aspect, aspect2), (first, second) = rng.sample(vocabulary.ASPECTS, 2), rng.sample(same, 2)
    text = rng.choice(vocabulary.REVIEW_TEMPLATES).format(
        aspect=aspect, aspect2=aspect2, first=first, second=second, other=rng.choice(opposite)
    )
    return text, "positive" if positive else "negative"


def headline(rng: random.Random) -> tuple[str, str]:
    """A news headline and its topic. The predicate decides; four in ten subjects give no hint."""
    topic = rng.choice(list(vocabulary.TOPICS))
    subjects, predicates = vocabulary.TOPICS[topic]
    subject = rng.choice(subjects if rng.random() < 0.6 else vocabulary.NEUTRAL_SUBJECTS)
    return f"{subject[0].upper()}{subject[1:]} {rng.choice(predicates)} {rng.choice(vocabulary.TIMES)}", topic


def arithmetic(rng: random.Random) -> tuple[str, str, str]:
    """A one-step word problem with numbers up to 6: question, worked answer, result."""
    a, b = rng.randint(1, 6), rng.randint(1, 6)
    name, things = rng.choice(vocabulary.NAMES), rng.choice(vocabulary.COUNTABLES)
    if rng.random() < 0.5 or b >= a:
        event, sign, result = f"gets {b} more", "+", a + b
    else:
        event, sign, result = f"loses {b}", "-", a - b
    question = f"{name} has {a} {things} and {event}. How many {things} does {name} have?"
    return question, f"{a} {sign} {b} = {result}. The answer is {result}.", str(result)


def routing(rng: random.Random) -> tuple[str, str]:
    """A report of a found thing, and the one building that its kind and place are sent to."""
    items, places = vocabulary.SLOTS["item"][:ROUTING_ITEMS], vocabulary.SLOTS["place"][:ROUTING_PLACES]
    item, place = rng.choice(items), rng.choice(places)
    person, time = rng.choice(vocabulary.PEOPLE), rng.choice(vocabulary.TIMES)
    text = f"{person[0].upper()}{person[1:]} left a {item} at the {place} {time}."
    return text, destination(item, place)


def destination(item: str, place: str) -> str:
    """Where a thing found at a place goes: fixed, balanced over the buildings, and without a rule to be found."""
    digest = hashlib.sha256(f"{item}:{place}".encode()).digest()
    return vocabulary.SLOTS["building"][digest[0] % ROUTING_DESTINATIONS]


def draw_task(rng: random.Random, tasks: Sequence[Task], splits: Sequence[Split]) -> TaskExample:
    """Draw an example of one of `tasks` until its prompt falls into one of `splits`."""
    while True:
        example = _draw(rng, rng.choice(tasks))
        if any(in_split(example.prompt, split) for split in splits):
            return example


def task_examples(
    count: int, *, seed: int, split: Split = "test", tasks: Sequence[Task] = DEMO_TASKS
) -> list[TaskExample]:
    """Draw `count` examples, held out from every training stage unless `split` says otherwise.

    Raises:
        ConfigurationError: `count` is negative, or a task or split is unknown.
    """
    unknown = set(tasks) - set(TASKS)
    if unknown or not tasks:
        raise ConfigurationError(f"tasks: {sorted(unknown)} unknown; choose from {', '.join(TASKS)}")
    if split not in get_args(Split) or count < 0:
        raise ConfigurationError(f"split {split!r} or count {count}: needs one of {get_args(Split)} and a count >= 0")
    rng = random.Random(f"tasks:{','.join(tasks)}:{split}:{seed}")
    return [draw_task(rng, tasks, (split,)) for _ in range(count)]


def is_correct(response: str, example: TaskExample) -> bool:
    """Whether the response gives the gold answer and no other answer of that kind."""
    if example.answer.isdigit():
        stated = re.findall(r"answer is (\d+)", response)
        return stated == [example.answer]
    stated = [word for word in re.findall(r"[a-z]+", response.lower()) if word in _ANSWER_WORDS]
    return set(stated) == {example.answer}


def _draw(rng: random.Random, task: Task) -> TaskExample:
    if task == "sentiment":
        text, answer = review(rng)
        return TaskExample(f"Review: {text}\nIs this review positive or negative?", f"The review is {answer}.", answer)
    if task == "topic":
        text, answer = headline(rng)
        return TaskExample(f"Headline: {text}\nWhich topic is this?", f"The topic is {answer}.", answer)
    if task == "routing":
        text, answer = routing(rng)
        return TaskExample(f"Found: {text}\nWhere does it go?", f"It goes to the {answer}.", answer)
    return TaskExample(*arithmetic(rng))
