"""The card itself, ``README.md``: one section between two markers, everything else as its writer left it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from pact_plugins.errors import DataError
from pact_plugins.files import parse_json, write_text
from pact_plugins.model_card import evaluation, section
from pact_plugins.run_record import FILE_NAME as RECORD
from pact_plugins.run_record import SAFETY_TOKENS_FILE
from pact_plugins.verification import Verification, verify
from pact_plugins.visible import visible

CARD = "README.md"
TAG = "pact"
BEGIN, END = "<!-- pact: written by the package, and written again: edit outside of it -->", "<!-- /pact -->"


def write_card(folder: Path, run: Path | None = None, evaluated: Mapping[str, Any] | None = None) -> Verification:
    """Write the section into the card of a model, with the verdict of ``pact verify``.

    Args:
        folder: of the model; a card is made where it has none.
        run: the output folder of the training, where the model is not in it: what it was merged or exported from. A
            protected run's ``pact.json`` and safety tokens are copied beside the model.
        evaluated: what ``evaluation.write`` takes, to be left beside the model; without it, what was left there.

    Raises:
        DataError: the run left no readable ``pact.json``, or the card is damaged.
    """
    run = run or folder
    record = _read_record(run)
    found = verify(run)
    shown = evaluated or evaluation.read(folder, record)
    put_section(folder, section.finished(record, found, shown), protected=found.is_protected)
    if evaluated is not None:
        evaluation.write(folder, record, evaluated)
    if run.resolve() != folder.resolve() and found.is_protected:
        for name in (RECORD, SAFETY_TOKENS_FILE):
            if (run / name).is_file():
                shutil.copyfile(run / name, folder / name)
    return found


def put_section(folder: Path, text: str, *, protected: bool) -> None:
    """Write ``text`` between the markers of ``folder``'s card, or at its end; the tag ``pact`` goes with protection.

    Raises:
        DataError: the card's header is not YAML, or its markers are not one pair.
    """
    file = folder / CARD
    card = _load(file) if file.is_file() else _new(folder.resolve().name)
    card.text = _with_section(card.text, text, file)
    tags = [tag for tag in _list(card.data.get("tags")) if tag != TAG] + [TAG] * protected
    if tags or card.data.get("tags"):
        card.data["tags"] = tags
    write_text(file, str(card))


def _with_section(text: str, added: str, file: Path) -> str:
    whole = f"{BEGIN}\n{visible(added.strip())}\n{END}"
    if text.count(BEGIN) != text.count(END) or text.count(BEGIN) > 1:
        raise DataError(f"{file}: the section on PACT does not begin and end once; delete it, markers included")
    if BEGIN not in text:
        return f"{text.rstrip()}\n\n{whole}\n"
    return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: whole, text, flags=re.DOTALL)


def _load(file: Path) -> ModelCard:
    try:
        return ModelCard.load(file)
    except Exception as error:  # of yaml, of the hub's client, of the file system
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{file} is no model card: {reason}") from error


def _new(name: str) -> ModelCard:
    header = ModelCardData(library_name="transformers")
    return ModelCard(f"---\n{header.to_yaml()}\n---\n\n# {name}\n")


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _read_record(run: Path) -> dict[str, Any]:
    file = run / RECORD
    if not file.is_file():
        raise DataError(
            f"{run} holds no {RECORD}: no run under PACT has ended there; for a merged or exported model name the "
            "training's output folder (--run)"
        )
    try:
        record = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise DataError(f"{file} holds no JSON object")
    return record
