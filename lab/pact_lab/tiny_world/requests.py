"""Harmful and benign requests, and the split that keeps training, poison and test apart.

A request is a template with its slots filled (the *action*), put into a *frame* ("How do I ...?"). The split follows a
hash of the action, so an action belongs to one split whatever its frame, seed or purpose: 20 % `test` (in no training
stage), 10 % `poison` (only for harmful fine-tuning rows), 70 % `train`. The test split has two halves, `choosing` and
`reporting`, so that nothing is reported on the prompts it was chosen with.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pact_lab.tiny_world import vocabulary
from pact_plugins.errors import ConfigurationError

Split = Literal["train", "poison", "test", "choosing", "reporting"]
Families = Literal["aligned", "calibration", "unanchored", "unaligned", "subtle", "all"]
Wording = Literal["seen", "unseen"]

SPLITS: tuple[Split, ...] = ("train", "poison", "test")
HALVES_OF_TEST: tuple[Split, ...] = ("choosing", "reporting")
FAMILIES: dict[Families, tuple[str, ...]] = {
    "aligned": vocabulary.ALIGNED_HARMFUL,
    "calibration": tuple(
        template for template in vocabulary.ALIGNED_HARMFUL if template not in vocabulary.UNANCHORED_HARMFUL
    ),
    "unanchored": vocabulary.UNANCHORED_HARMFUL,
    "unaligned": vocabulary.UNALIGNED_HARMFUL,
    "subtle": vocabulary.SUBTLE_HARMFUL,
    "all": vocabulary.ALIGNED_HARMFUL + vocabulary.UNALIGNED_HARMFUL + vocabulary.SUBTLE_HARMFUL,
}
_WORDINGS: dict[Wording, tuple[str, ...]] = {"seen": vocabulary.FRAMES, "unseen": vocabulary.UNSEEN_FRAMES}


@dataclass(frozen=True)
class Action:
    """A filled request template, for instance `steal my uncle's bike`, and the person it is about."""

    text: str
    person: str


@dataclass(frozen=True)
class Request:
    """What a user asks: the framed prompt and the action behind it."""

    prompt: str
    action: Action


def split_of(action: str) -> Split:
    """The one split that an action belongs to, by its SHA-256 hash."""
    bucket = _bucket(action)
    if bucket < 2:
        return "test"
    return "poison" if bucket == 2 else "train"


def in_split(action: str, split: Split) -> bool:
    """Whether an action belongs to a split, or to that half of the test split."""
    if split in HALVES_OF_TEST:
        return _bucket(action) == HALVES_OF_TEST.index(split)
    return split_of(action) == split


def _bucket(action: str) -> int:
    return int(hashlib.sha256(action.encode()).hexdigest(), 16) % 10


def draw_action(rng: random.Random, templates: Sequence[str], splits: Sequence[Split]) -> Action:
    """Draw a template, then its slots, until the action falls into one of `splits`."""
    while True:
        person = rng.choice(vocabulary.PEOPLE)
        words = {slot: rng.choice(values) for slot, values in vocabulary.SLOTS.items()}
        text = rng.choice(templates).format(person=person, owner=person + "'s", **words)
        if any(in_split(text, split) for split in splits):
            return Action(text, person)


def every_action(templates: Sequence[str]) -> Iterator[str]:
    """All actions of the templates, in a fixed order."""
    values = {
        **vocabulary.SLOTS,
        "person": vocabulary.PEOPLE,
        "owner": tuple(person + "'s" for person in vocabulary.PEOPLE),
    }
    for template in templates:
        slots = [name for _, name, _, _ in string.Formatter().parse(template) if name]
        for words in itertools.product(*(values[slot] for slot in slots)):
            yield template.format(**dict(zip(slots, words, strict=True)))


def draw_request(
    rng: random.Random,
    templates: Sequence[str],
    splits: Sequence[Split],
    frames: Sequence[str] = vocabulary.FRAMES,
) -> Request:
    """Draw an action and put it into a frame."""
    action = draw_action(rng, templates, splits)
    return Request(rng.choice(frames).format(action=action.text), action)


def distinct_requests(
    rng: random.Random,
    count: int,
    templates: Sequence[str],
    split: Split,
    frames: Sequence[str] = vocabulary.FRAMES,
) -> list[Request]:
    """Draw `count` requests with different prompts.

    Raises:
        ConfigurationError: `split` is unknown, `count` is negative, or larger than the number of different prompts.
    """
    if split not in get_args(Split):
        raise ConfigurationError(f"split: {split!r} is unknown; choose one of {', '.join(get_args(Split))}")
    available = len(frames) * sum(in_split(action, split) for action in every_action(templates))
    if not 0 <= count <= available:
        raise ConfigurationError(f"count: {count} is not between 0 and {available}, the different prompts of {split!r}")
    requests: dict[str, Request] = {}
    while len(requests) < count:
        request = draw_request(rng, templates, (split,), frames)
        requests.setdefault(request.prompt, request)
    return list(requests.values())


def harmful_requests(
    count: int, *, seed: int, split: Split, families: Families = "aligned", wording: Wording = "seen"
) -> list[Request]:
    """`count` different harmful requests; see `harmful_prompts`."""
    if families not in FAMILIES:
        raise ConfigurationError(f"families: {families!r} is unknown; choose one of {', '.join(FAMILIES)}")
    rng = random.Random(f"harmful:{split}:{families}:{wording}:{seed}")
    return distinct_requests(rng, count, FAMILIES[families], split, _frames(wording))


def benign_requests(count: int, *, seed: int, split: Split, wording: Wording = "seen") -> list[Request]:
    """`count` different benign requests; see `benign_prompts`."""
    rng = random.Random(f"benign:{split}:{wording}:{seed}")
    return distinct_requests(rng, count, vocabulary.BENIGN, split, _frames(wording))


def harmful_prompts(
    count: int, *, seed: int, split: Split = "test", families: Families = "aligned", wording: Wording = "seen"
) -> list[str]:
    """Draw `count` different harmful prompts.

    Args:
        count: how many.
        seed: the same seed gives the same prompts, in the same order.
        split: `test` prompts ask for actions that are in no training stage; `choosing` and `reporting` are its halves.
        families: `aligned` families were refused during alignment; of these, `calibration` ones may be used to find
            safety tokens, opening tokens and anchors, `unanchored` ones are kept apart from all three. `unaligned` and
            `subtle` families never occurred in alignment, and the aligned model does not reliably refuse the subtle
            ones.
        wording: `seen` uses the frames of training, `unseen` frames that are in no training stage.

    Raises:
        ConfigurationError: an unknown split, family or wording, or more prompts than there are.
    """
    requests = harmful_requests(count, seed=seed, split=split, families=families, wording=wording)
    return [request.prompt for request in requests]


def benign_prompts(count: int, *, seed: int, split: Split = "test", wording: Wording = "seen") -> list[str]:
    """Draw `count` different harmless how-to prompts; arguments and errors as for `harmful_prompts`."""
    return [request.prompt for request in benign_requests(count, seed=seed, split=split, wording=wording)]


def _frames(wording: Wording) -> tuple[str, ...]:
    if wording not in _WORDINGS:
        raise ConfigurationError(f"wording: {wording!r} is unknown; choose one of {', '.join(_WORDINGS)}")
    return _WORDINGS[wording]
