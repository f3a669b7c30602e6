"""Rows of the tasks: `id`, `category`, `prompt` and, for utility tasks, `answer`.

Public sets are read from the Hugging Face hub, or from files of the same format in the folder that `PACT_DATA_PATH`
names (searched by file name, whatever the sub-folder), so that a machine without a network can run them.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pact_plugins.errors import PACTError
from pact_plugins.files import parse_json

DATA_PATH_VARIABLE = "PACT_DATA_PATH"

Row = dict[str, Any]


class DatasetUnavailableError(PACTError, RuntimeError):
    """A public data set can be reached neither locally nor on the hub, or lacks the columns it should have."""


@dataclass(frozen=True)
class PublicSet:
    """Where a public set lives and what its columns are called, on the hub and in its authors' file."""

    hub: str
    split: str
    prompt: tuple[str, ...]
    category: tuple[str, ...] = ()
    answer: str | None = None
    config: str | None = None
    files: tuple[str, ...] = ()
    keep: tuple[tuple[str, str], ...] = ()  # column must equal value, where the column exists
    read_answer: Callable[[Any], str] = str


_SST2_LABELS = ("negative", "positive")
_NEWS_LABELS = ("World", "Sports", "Business", "Sci/Tech")


def _label(names: tuple[str, ...], value: Any) -> str:
    return names[int(value)] if str(value).isdigit() else str(value)


def _after_hashes(value: Any) -> str:
    return str(value).rsplit("####", 1)[-1].strip().replace(",", "")


_GOAL = ("prompt", "Behavior", "forbidden_prompt", "Goal", "goal")
_CATEGORY = ("category", "Category", "SemanticCategory", "type")
PUBLIC_SETS: dict[str, PublicSet] = {
    "advbench": PublicSet("walledai/AdvBench", "train", _GOAL, files=("advbench.csv", "harmful_behaviors.csv")),
    "harmbench": PublicSet(
        "walledai/HarmBench",
        "train",
        _GOAL,
        _CATEGORY,
        config="standard",
        files=("harmbench_behaviors_text_all.csv",),
        keep=(("FunctionalCategory", "standard"),),
    ),
    "jailbreakbench": PublicSet(
        "walledai/JailbreakBench", "train", _GOAL, _CATEGORY, files=("jailbreakbench.csv", "harmful-behaviors.csv")
    ),
    "strongreject": PublicSet("walledai/StrongREJECT", "train", _GOAL, _CATEGORY, files=("strongreject_dataset.csv",)),
    "xstest_safe": PublicSet(
        "walledai/XSTest", "test", _GOAL, _CATEGORY, files=("xstest_prompts.csv",), keep=(("label", "safe"),)
    ),
    "xstest_unsafe": PublicSet(
        "walledai/XSTest", "test", _GOAL, _CATEGORY, files=("xstest_prompts.csv",), keep=(("label", "unsafe"),)
    ),
    "sst2": PublicSet(
        "stanfordnlp/sst2",
        "validation",
        ("sentence", "input"),
        answer="label",
        files=("sst2.json", "sst2.jsonl", "sst2_5k.json"),
        read_answer=partial(_label, _SST2_LABELS),
    ),
    "agnews": PublicSet(
        "fancyzhx/ag_news",
        "test",
        ("text", "input"),
        answer="label",
        files=("agnews.json", "agnews.jsonl", "agnews_5k.json"),
        read_answer=partial(_label, _NEWS_LABELS),
    ),
    "gsm8k": PublicSet(
        "openai/gsm8k",
        "test",
        ("question", "input"),
        answer="answer",
        config="main",
        files=("gsm8k.json", "gsm8k.jsonl"),
        read_answer=_after_hashes,
    ),
}


def load_rows(source: str, settings: Mapping[str, Any]) -> list[Row]:
    """The rows of a source: `bundled:harmful`, `bundled:harmless`, `bundled:plain`, `public:NAME`.

    `settings` may hold `split` for the bundled prompts.

    Raises:
        DatasetUnavailableError: a public set is out of reach, empty, or has other columns.
    """
    kind, _, name = source.partition(":")
    if kind == "bundled":
        return _bundled(name, str(settings.get("split", "evaluation")))
    return _public(name, PUBLIC_SETS[name])


def to_dataset(rows: Iterable[Row]) -> Any:
    """The rows as a `datasets.Dataset`, which lm-eval expects."""
    import datasets

    return datasets.Dataset.from_list(list(rows))


def _bundled(name: str, split: str) -> list[Row]:
    from pact_plugins import prompts

    read = {
        "harmful": prompts.harmful_prompts,
        "harmless": prompts.harmless_prompts,
        "plain": prompts.plain_prompts,
    }[name]
    return [{"id": row.id, "category": row.category, "prompt": row.prompt} for row in read(split)]


def make_row(identifier: str, category: str, prompt: str, answer: str | None = None) -> Row:
    row = {"id": identifier, "category": category, "prompt": prompt}
    return row if answer is None else {**row, "answer": answer}


def _public(name: str, public: PublicSet) -> list[Row]:
    local = _local_file(public)
    raw = _read_file(local) if local else _read_hub(public)
    place = str(local) if local else public.hub
    kept = [row for row in raw if all(column not in row or row[column] == value for column, value in public.keep)]
    rows = [_normalise(name, public, index, raw_row, place) for index, raw_row in enumerate(kept)]
    if not rows:
        raise DatasetUnavailableError(f"{place} holds no rows for {name}")
    return rows


def _normalise(name: str, public: PublicSet, index: int, row: Mapping[str, Any], place: str) -> Row:
    prompt = next((row[column] for column in public.prompt if isinstance(row.get(column), str)), None)
    if prompt is None:
        raise DatasetUnavailableError(f"{place} has none of the columns {', '.join(public.prompt)}")
    category = next((str(row[column]) for column in public.category if row.get(column)), name)
    if public.answer is None:
        return make_row(f"{name}-{index}", category, prompt)
    answer = row.get(public.answer, row.get("output"))
    if answer is None:
        raise DatasetUnavailableError(f"{place} has no column {public.answer!r} or 'output'")
    return make_row(f"{name}-{index}", category, prompt, public.read_answer(answer))


def _local_file(public: PublicSet) -> Path | None:
    folder = os.environ.get(DATA_PATH_VARIABLE)
    if not folder:
        return None
    for file in public.files:
        found = sorted(Path(folder).rglob(file))
        if found:
            return found[0]
    return None


def _read_file(path: Path) -> list[dict[str, Any]]:
    try:
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                return list(csv.DictReader(file))
        text = path.read_text(encoding="utf-8")
        rows = parse_json(text) if path.suffix == ".json" else [parse_json(line) for line in text.split("\n") if line]
    except (OSError, ValueError) as error:
        raise DatasetUnavailableError(f"{path} cannot be read: {error}") from error
    return list(rows)


def _read_hub(public: PublicSet) -> list[dict[str, Any]]:
    import datasets

    try:
        return [dict(row) for row in datasets.load_dataset(public.hub, public.config, split=public.split)]
    except Exception as error:  # the hub client raises many kinds; each means the same to the reader
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetUnavailableError(
            f"the data set {public.hub} cannot be reached ({reason}). Check the network and `hf auth login`, or put "
            f"{' or '.join(public.files)} into a folder and set {DATA_PATH_VARIABLE} to it"
        ) from error
