"""Keeps the section in the cards that a trainer writes while it saves and uploads a model that was trained under PACT.

No event of a trainer comes after it has written a card and before it uploads it, and each card begins anew. So its
``create_model_card`` is followed by ours, and so is ``save_model``, which takes a model to folders of the user's
choice.
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


class CardKeeper:
    """Of one callback. Every method is for the main process alone."""

    def __init__(self) -> None:
        self._output = Path(".")
        self._digest: Callable[[], str | None] = lambda: None

    def begin(self, trainer: Any, output: Path) -> None:
        """Training begins: until it ends, no card says that it was protected.

        Args:
            trainer: None where nobody knows it; the card is then written once, at the end.
            output: its output folder.
        """
        self._output, self._digest = output, lambda: None
        if trainer is not None:
            for name in ("create_model_card", "save_model"):
                self._follow(trainer, name)

    def end(self, digest: Callable[[], str | None]) -> None:
        """``pact.json`` has been written.

        Args:
            digest: gives that of the weights in memory; None once they are no longer those that training ended with.
        """
        self._digest = digest
        self.write(self._output)

    def write(self, folder: Path | None = None) -> None:
        """Into the card of ``folder``, if it has one; of the output folder without an argument."""
        folder = folder or self._output
        if (folder / CARD).is_file():
            self._write(folder)

    def _follow(self, trainer: Any, name: str) -> None:
        """Once, however often training begins."""
        method = getattr(trainer, name)
        method = getattr(method, "followed_by_pact", method)

        @functools.wraps(method)
        def followed(*args: Any, **options: Any) -> Any:
            result = method(*args, **options)
            given = options.get("output_dir", args[0] if args else None) if name == "save_model" else None
            self._saved(Path(given or self._output))
            return result

        followed.followed_by_pact = method  # type: ignore[attr-defined]
        setattr(trainer, name, followed)

    def _saved(self, folder: Path) -> None:
        if folder.name.startswith("checkpoint-") or not folder.is_dir():
            return
        if self._digest() is not None or (folder / CARD).is_file():
            self._write(folder)

    def _write(self, folder: Path) -> None:
        """A card that cannot be written stops no training."""
        digest = self._digest()
        try:
            if digest is None:
                put_section(folder, section.unfinished(), protected=False)
            else:
                write_card(folder, self._output, weights=digest)
        except (PACTError, OSError) as error:
            announce(f"the model card says nothing of this run: {error}; `pact card {folder}` tries again")
