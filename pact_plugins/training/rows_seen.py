"""What the rows are that will be trained on, looked at before the first step and said where it matters."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pact_plugins.batch.responses import IGNORE_INDEX, sequence_starts, without_prompt
from pact_plugins.batch.responses import find_responses as _found
from pact_plugins.batch.training_data import TrainingData, training_data
from pact_plugins.conversation import AssistantTurns, ChatQuestion, learn_turns
from pact_plugins.messages import announce, warn

_INSPECTED = 16
_SHOWN = 160


@dataclass(frozen=True)
class RowsSeen:
    """How responses and requests are found in the rows.

    Attributes:
        turns: what the chat template writes around an assistant's turn; None where nobody can tell.
        question: how the reference is asked about requests that the template has not rendered; None where the rows
            that were looked at are all rendered.
    """

    turns: AssistantTurns | None = None
    question: ChatQuestion | None = None


def inspect_rows(train_dataloader: Any, tokenizer: Any, chat_template: str | None = None) -> RowsSeen:
    """Look at some rows of the training set, evenly spread; say what is seen where it is not plain conversations.

    Args:
        chat_template: that the rows were rendered by, where it is not the tokenizer's.
    """
    turns = (learn_turns(tokenizer, chat_template) if chat_template else None) or learn_turns(tokenizer)
    if turns is None:
        return RowsSeen()
    data, _ = training_data(train_dataloader, turns)
    kinds = [] if data is None else _kinds(data, turns)
    if data is not None and kinds:
        _say(kinds, tokenizer, turns)
    unseen = train_dataloader is not None and not kinds
    plain = unseen or any(kind in ("strings", "text") for kind, _ in kinds)
    return RowsSeen(turns, ChatQuestion(tokenizer, turns) if plain else None)


def _kinds(data: TrainingData, turns: AssistantTurns) -> list[tuple[str, list[int]]]:
    """Of each row that teaches something, what it is, and its tokens."""
    count = min(_INSPECTED, len(data))
    kinds = []
    # Somebody's collator may be unable to take single rows; that is nothing to stop for.
    with suppress(Exception):
        for row in data.inputs([number * len(data) // count for number in range(count)]):
            labels, ids = row.get("labels"), row.get("input_ids")
            if labels is None or ids is None or not bool((labels != IGNORE_INDEX).any()):
                continue
            kinds.append((_kind(row, turns), ids.ravel().tolist()))
    return kinds


def _kind(row: dict[str, Any], turns: AssistantTurns) -> str:
    labels, ids = row["labels"], row["input_ids"].numpy()
    starts = sequence_starts(row, tuple(labels.shape))
    if turns.is_conversation(ids, starts):
        others = turns.answers(ids, (labels != IGNORE_INDEX).numpy(), starts) is not None
        return "prompts learnt" if others else "conversation"
    return "text" if without_prompt(_found(labels), row.get("position_ids")).all() else "strings"


def _say(kinds: list[tuple[str, list[int]]], tokenizer: Any, turns: AssistantTurns) -> None:
    def shown(wanted: str) -> tuple[int, str]:
        rows = [ids for kind, ids in kinds if kind == wanted]
        text = tokenizer.decode(rows[0][: 2 * _SHOWN]) if rows else ""
        return len(rows), repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")

    looked_at = f"of the {len(kinds)} training rows that were looked at"
    learnt, _ = shown("prompts learnt")
    if learnt:
        header = repr(tokenizer.decode(list(sorted(turns.headers, key=len)[0])))
        announce(
            f"the prompts of {learnt} {looked_at} are trained on too; what is protected are the assistant's turns, "
            f"which begin after {header}"
        )
    count, row = shown("strings")
    if count:
        warn(
            f"{count} {looked_at} never saw the chat template, this one for instance: {row}. The reference is asked "
            "about their prompts as the template renders them, for so it is asked when it is used. Rows with lists of "
            'messages ({"prompt": [{"role": "user", "content": ...}], "completion": [...]}) are trained that way too'
        )
    count, row = shown("text")
    if count:
        warn(
            f"{count} {looked_at} are text in which no turn of the assistant's is to be found, this one for instance: "
            f"{row}. All of it counts as response, and there is no request to ask the reference about. Give rows with "
            "`messages`, or with `prompt` and `completion`"
        )
