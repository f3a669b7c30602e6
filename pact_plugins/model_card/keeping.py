"""Keeps the section in the cards that a trainer writes: each of its ways to write one begins the card anew.

TRL writes it with every checkpoint, transformers and Axolotl at the end and before an upload, PEFT with every saved
adapter (and alone leaves foreign text in it). So the trainer's own methods are followed by ours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pact_plugins.errors import PACTError
from pact_plugins.messages import announce
from pact_plugins.model_card import section
from pact_plugins.model_card.writing import CARD, put_section, write_card
from pact_plugins.run_record import FILE_NAME as RECORD


class CardKeeper:
    """Of one callback. Every method is for the main process alone."""

    def __init__(self) -> None:
        self._output: Path | None = None
        self._trainer: Any = None
        self._ended: Any = None

    def begin(self, trainer: Any, output: Path) -> None:
        """Training begins: until it ends, whatever card is written says that it has not.

        Args:
            trainer: None where nobody knows it; the card is then written once, at the end.
            output: its output folder.
        """
        self._output, self._trainer, self._ended = output, trainer, None
        if trainer is not None:
            self._follow("create_model_card", lambda *_args, **_options: self.write())
            self._follow("save_model", self._saved)

    def end(self, state: Any) -> None:
        """``pact.json`` has been written. A trainer makes a new ``state`` for each training."""
        self._ended = state
        self.write()

    def write(self) -> None:
        """Into the card of the output folder, if it has one."""
        if self._output is not None and (self._output / CARD).is_file():
            self._write(self._output)

    def _follow(self, name: str, then: Callable[..., None]) -> None:
        """Let ``then`` be called after the trainer's method, with its arguments; once, however often we begin."""
        method = getattr(self._trainer, name)
        method = getattr(method, "followed_by_pact", method)

        @functools.wraps(method)
        def followed(*args: Any, **options: Any) -> Any:
            result = method(*args, **options)
            then(*args, **options)
            return result

        followed.followed_by_pact = method  # type: ignore[attr-defined]
        setattr(self._trainer, name, followed)

    def _saved(self, output_dir: str | None = None, *_args: Any, **_options: Any) -> None:
        assert self._output is not None
        folder = Path(output_dir) if output_dir else self._output
        if folder.name.startswith("checkpoint-") or not folder.is_dir():
            return
        if not self._has_ended and folder.resolve() == self._output.resolve():
            # Weights of a run that has not ended have taken the place of those that it speaks of.
            (folder / RECORD).unlink(missing_ok=True)
        if self._has_ended or (folder / CARD).is_file():
            self._write(folder)

    @property
    def _has_ended(self) -> bool:
        """Whether the trainer's weights are those that training under PACT ended with."""
        return self._ended is not None and (self._trainer is None or self._trainer.state is self._ended)

    def _write(self, folder: Path) -> None:
        """A card that cannot be written stops no training."""
        try:
            if self._has_ended:
                write_card(folder, self._output)
            else:
                put_section(folder, section.unfinished(), protected=False)
        except (PACTError, OSError) as error:
            announce(f"the model card says nothing of this run: {error}; `pact card {folder}` tries again")
