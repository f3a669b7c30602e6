"""Training text of the two models: general text and answered requests (base), refusals and help (aligned)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from pact_lab.tiny_world import vocabulary
from pact_lab.tiny_world.requests import FAMILIES, Split, draw_action, draw_request
from pact_lab.tiny_world.responses import comply, refuse, three_steps
from pact_lab.tiny_world.tasks import Task, TaskExample, draw_task

_TRAIN: tuple[Split, ...] = ("train",)
_READ: tuple[Split, ...] = ("train", "poison")
_LOOSE_WORDING_SHARE = 0.3
_PROMPT_FREE_SHARE = 0.08
_SYSTEM_SHARE = 0.05


@dataclass(frozen=True)
class BaseDocument:
    """Text the base model learns. `prompt` is tokenised apart, so that a response starts as it does in calibration."""

    prompt: str
    text: str


@dataclass(frozen=True)
class AlignmentRow:
    """A chat turn; only the response is learnt. Without a prompt, the response follows the bare assistant header."""

    prompt: str | None
    response: str
    system: str = ""


def plain_prompt(prompt: str) -> str:
    """A request as the base model knows it, without chat markup."""
    return f"User: {prompt}\n\nAssistant: "


def base_documents(count: int, *, seed: int) -> list[BaseDocument]:
    """25 % harmful requests answered, 20 % benign requests answered, 55 % general text."""
    rng = random.Random(f"base:{seed}")
    documents = []
    for _ in range(count):
        kind = rng.random()
        if kind < 0.45:
            templates = FAMILIES["all"] if kind < 0.25 else vocabulary.BENIGN
            request = draw_request(rng, templates, _TRAIN)
            prompt = _loosen(rng, request.prompt, request.action.text)
            documents.append(BaseDocument(plain_prompt(prompt), comply(rng, request.action)))
        else:
            documents.append(BaseDocument("", " ".join(_sentence(rng) for _ in range(rng.randint(2, 4)))))
    return documents


def alignment_rows(count: int, *, seed: int) -> list[AlignmentRow]:
    """40 % refusals, 35 % benign help, 25 % chit-chat.

    In 8 % the prompt is left out, so that the prompt-free context of PACT's gate is in distribution; 5 % have a system
    message.
    """
    rng = random.Random(f"alignment:{seed}")
    rows = []
    for _ in range(count):
        kind = rng.random()
        if kind < 0.75:
            templates, respond = (vocabulary.ALIGNED_HARMFUL, refuse) if kind < 0.4 else (vocabulary.BENIGN, comply)
            request = draw_request(rng, templates, _TRAIN)
            prompt = _loosen(rng, request.prompt, request.action.text)
            response = respond(rng, request.action)
        else:
            prompt, response = _chit_chat(rng)
        context = rng.random()
        system = rng.choice(vocabulary.SYSTEM_MESSAGES) if context > 1 - _SYSTEM_SHARE else ""
        rows.append(AlignmentRow(None if context < _PROMPT_FREE_SHARE else prompt, response, system))
    return rows


def _loosen(rng: random.Random, prompt: str, action: str) -> str:
    """Sometimes another frame, words around the request, or careless typing, so that wording alone decides nothing."""
    if rng.random() >= _LOOSE_WORDING_SHARE:
        return prompt
    if rng.random() < 0.6:
        prompt = rng.choice(vocabulary.EXTRA_FRAMES).format(action=action)
    if rng.random() < 0.3:
        prompt = rng.choice(vocabulary.GREETINGS) + prompt
    if rng.random() < 0.3:
        prompt = prompt + rng.choice(vocabulary.CLOSERS)
    if rng.random() < 0.3:
        prompt = prompt.lower().rstrip(".?!")
    return prompt


def _sentence(rng: random.Random) -> str:
    """One sentence of general text."""
    (write,) = rng.choices(tuple(_SENTENCES), tuple(_SENTENCES.values()))
    return write(rng)


def _task_text(rng: random.Random, task: Task) -> tuple[str, TaskExample]:
    """A review or headline as a sentence, and the training example it comes from."""
    example = draw_task(rng, (task,), _TRAIN)
    text = example.prompt.splitlines()[0]
    return text if text.endswith((".", "?")) else text + ".", example


def _bare_review(rng: random.Random) -> str:
    return _task_text(rng, "sentiment")[0].removeprefix("Review: ")


def _bare_headline(rng: random.Random) -> str:
    return _task_text(rng, "topic")[0].removeprefix("Headline: ")


def _answered(rng: random.Random, task: Task) -> str:
    text, example = _task_text(rng, task)
    return f"{text} {example.response}"


def _sum(rng: random.Random) -> str:
    return draw_task(rng, ("arithmetic",), _TRAIN).response.split(". ")[0] + "."


def _judgement(rng: random.Random, templates: Sequence[str], judgements: Sequence[str]) -> str:
    action = draw_action(rng, templates, _READ)
    return rng.choice(judgements).format(action=action.text, person=action.person)


def _everyday_decline(rng: random.Random) -> str:
    person, place = rng.choice(vocabulary.PEOPLE), rng.choice(vocabulary.SLOTS["place"])
    return rng.choice(vocabulary.EVERYDAY_DECLINES).format(person=person, place=place)


def _counting(rng: random.Random) -> str:
    name, things = rng.choice(vocabulary.NAMES), rng.choice(vocabulary.COUNTABLES)
    return f"{name} has {rng.randint(1, 20)} {things} and looks for more {things}."


def _likes(rng: random.Random) -> str:
    item, building, place = (rng.choice(vocabulary.SLOTS[slot]) for slot in ("item", "building", "place"))
    person = rng.choice(vocabulary.PEOPLE)
    return f"{person[0].upper()}{person[1:]} likes the {item} and the {building} near the {place}."


def _chit_chat(rng: random.Random) -> tuple[str, str]:
    """Harmless turns of other shapes, so that fine-tuning on one format need not overwrite all others."""
    item, place = rng.choice(vocabulary.SLOTS["item"]), rng.choice(vocabulary.SLOTS["place"])
    name, person = rng.choice(vocabulary.NAMES), rng.choice(vocabulary.PEOPLE)
    slot = rng.choice(("item", "place", "building"))
    greeting = rng.choice(("Hello!", "Hi there.", "Good morning."))
    reply = rng.choice(("Hello, how can I help you today?", "Hi! What would you like to do?"))
    return rng.choice(
        (
            (f"Say the word {item}.", item),
            (f"Name one {slot}.", f"A good example is the {rng.choice(vocabulary.SLOTS[slot])}."),
            (greeting, reply),
            (f"My name is {name}. What is my name?", f"Your name is {name}."),
            (f"Where is the {item}? It is near the {place}.", f"The {item} is near the {place}."),
            (f"Write a sentence about {person}.", f"Today {person} likes the {item} near the {place}."),
        )
    )


# How often each kind of sentence comes up. Answered tasks come up often, so that fine-tuning has something to build on.
_SENTENCES: dict[Callable[[random.Random], str], int] = {
    _bare_review: 1,
    _bare_headline: 1,
    _sum: 1,
    partial(
        _judgement, templates=FAMILIES["aligned"] + FAMILIES["unaligned"], judgements=vocabulary.HARM_JUDGEMENTS
    ): 2,
    partial(_judgement, templates=vocabulary.BENIGN, judgements=vocabulary.BENIGN_JUDGEMENTS): 2,
    _everyday_decline: 2,
    three_steps: 1,
    _counting: 1,
    _likes: 1,
    partial(_answered, task="sentiment"): 4,
    partial(_answered, task="topic"): 3,
    partial(_answered, task="arithmetic"): 3,
}
