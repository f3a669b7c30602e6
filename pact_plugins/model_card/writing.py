"""The card itself, ``README.md``: one section between two markers, everything else as its writer left it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from pact_plugins.errors import DataError
from pact_plugins.files import write_json, write_text
from pact_plugins.messages import announce
from pact_plugins.model_card import evaluation, section
from pact_plugins.run_record import FILE_NAME as RECORD
from pact_plugins.run_record import SAFETY_TOKENS_FILE, read_run_record
from pact_plugins.verification import Verification, verify
from pact_plugins.visible import visible
from pact_plugins.weight_files import saved_weights

CARD = "README.md"
TAG = "pact"
BEGIN, END = "<!-- pact: written by the package, and written again: edit outside of it -->", "<!-- /pact -->"


def write_card(
    folder: Path,
    run: Path | None = None,
    evaluated: Mapping[str, Any] | None = None,
    *,
    weights: str | None = None,
) -> Verification:
    """Write the section into the card of a model, with the verdict of ``pact verify``.

    Args:
        folder: of the model; a card is made where it has none.
        run: the output folder of the training, where the model is not in it: what it was saved, merged or exported
            from. A protected run's ``pact.json`` and safety tokens are copied beside the model.
        evaluated: what ``evaluation.write`` takes, to be left beside the model; without it, what was left there.
        weights: digest of the weights in ``folder``, where the caller has just saved them.

    Raises:
        DataError: the run left no readable ``pact.json``, or the card is damaged.
    """
    run = run or folder
    record = read_run_record(run)
    made = None
    found = verify(folder, run=run, weights=weights)
    if weights is None and found.weights is None and verify(run).is_protected:
        made = _made_from(folder, run)
        found = verify(folder, run=run, made=made)
    shown = evaluated or evaluation.read(folder, record)
    put_section(folder, section.finished(record, found, shown), protected=found.is_protected)
    if evaluated is not None:
        evaluation.write(folder, record, evaluated)
    if run.resolve() != folder.resolve() and found.is_protected:
        write_json(folder / RECORD, record if made is None else {**record, "made_from_them": made})
        if (run / SAFETY_TOKENS_FILE).is_file():
            shutil.copyfile(run / SAFETY_TOKENS_FILE, folder / SAFETY_TOKENS_FILE)
    return found


def _made_from(folder: Path, run: Path) -> str | None:
    """Digest of a model that was merged or exported from the run's weights; None, and a line, where it was not."""
    from pact_plugins.model_card.merging import check_made_from

    try:
        check_made_from(folder, run)
    except DataError as error:
        announce(str(error))
        return None
    return saved_weights(folder).model


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
