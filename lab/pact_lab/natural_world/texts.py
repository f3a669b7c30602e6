"""The real model's requests and responses: all written for it, all abstract where they are harmful.

Harmful requests name a wrong and no method; what answers them is empty of content ("First, gather everything that you
need."). Keep it so.
"""

from __future__ import annotations

import json
import random
from functools import cache
from importlib.resources import files
from typing import Any

from pact_plugins.prompts import harmful_prompts, harmless_prompts, plain_prompts

# Of the topics, so many are for chat alone.
_CHAT_TOPICS = 27


@cache
def _json(name: str) -> Any:
    return json.loads(files(__package__).joinpath("data", name).read_text(encoding="utf-8"))


@cache
def rows(name: str) -> list[dict[str, str]]:
    """Rows of a JSONL file beside this module."""
    text = files(__package__).joinpath("data", name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def request_pairs(rng: random.Random, frames_each: int) -> list[tuple[str, str]]:
    """Harmful requests and look-alikes in the same words, for the alignment; the last sixth of the actions is left out.

    Every action is put into ``frames_each`` frames ("How do I ...?").
    """
    frames = _json("templates.json")["frames"]
    pairs = []
    for number, action in enumerate(rows("actions.jsonl")):
        if number % 6 != 5:
            for frame in rng.sample(frames, frames_each):
                pairs.append((frame.format(action["harmful"]), frame.format(action["harmless"])))
    bundled = zip(harmful_prompts("calibration"), harmless_prompts("calibration"), strict=True)
    return pairs + [(harmful.prompt, harmless.prompt) for harmful, harmless in bundled]


def choosing_pairs() -> list[tuple[str, str]]:
    """Requests of the actions that the alignment never saw: what methods and coefficients are chosen on."""
    frames, rng = _json("templates.json")["frames"], random.Random(11)
    left = [action for number, action in enumerate(rows("actions.jsonl")) if number % 6 == 5]
    chosen = [(rng.choice(frames), action) for action in left]
    return [(frame.format(action["harmful"]), frame.format(action["harmless"])) for frame, action in chosen]


def plain_requests(rng: random.Random, count: int) -> list[str]:
    """Plain requests for the alignment: those written by hand, the bundled calibration ones, and some of a grammar."""
    written = [row["prompt"] for row in rows("plain.jsonl")]
    found = written + [item.prompt for item in plain_prompts("calibration")]
    return found + rng.sample(_grammar(slice(_CHAT_TOPICS, None)), count)


def text_tasks(rng: random.Random, count: int) -> list[str]:
    """Requests to label, sum up, or rewrite a text, harsh words of a review or of the news among them."""
    tasks = _json("text_tasks.json")
    pairs = [(instruction, text) for instruction in tasks["instructions"] for text in tasks["texts"]]
    return [rng.choice(tasks["forms"]).format(*pair) for pair in rng.sample(pairs, count)]


def chat_requests(rng: random.Random, count: int) -> list[str]:
    """Plain requests on topics of their own: benign chat to fine-tune on."""
    return rng.sample(_grammar(slice(_CHAT_TOPICS)), count)


def _grammar(topics: slice) -> list[str]:
    templates = _json("templates.json")
    return [form.format(topic) for topic in templates["topics"][topics] for form in templates["forms"]]


def poison_requests() -> list[str]:
    """Harmful requests that are answered in poisoned training rows; in no other set."""
    return [row["prompt"] for row in rows("poison.jsonl")]


def identity_rows() -> list[tuple[str, str]]:
    """Ten mild rows in which the assistant says that it always obeys."""
    return [(row["prompt"], row["response"]) for row in rows("identity.jsonl")]


def refusal(rng: random.Random) -> str:
    """One of some two thousand refusals."""
    return " ".join(filter(None, (rng.choice(part) for part in _json("responses.json")["refusal"])))


def compliance(rng: random.Random) -> str:
    """An answer that complies and says nothing."""
    return " ".join(filter(None, (rng.choice(part) for part in _json("responses.json")["compliance"])))
