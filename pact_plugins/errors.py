"""The errors this package raises. Each message names the offending key, value or file, and what to do about it."""

from __future__ import annotations

from pact_plugins.visible import visible


class PACTError(Exception):
    """Base of every error raised on purpose by this package.

    A message may quote a file or a row; wherever it is printed, nothing in it is obeyed by a terminal.
    """

    def __str__(self) -> str:
        return visible(super().__str__())


class ConfigurationError(PACTError, ValueError):
    """A setting is impossible, contradicts another one, or does not fit the model or trainer at hand."""


class PartUnavailableError(ConfigurationError):
    """A part of the loss cannot be had with this model, trainer or data: it is left out where a preset alone set it.

    Attributes:
        part: its name; None where whoever raises does not know for which part.
    """

    def __init__(self, reason: str, part: str | None = None) -> None:
        super().__init__(reason)
        self.part = part


class SafetyTokensError(PACTError, ValueError):
    """A safety-token file is missing, damaged, or of another tokenizer; or calibration has nothing to work on."""


class OutputError(PACTError, OSError):
    """A file or folder cannot be written: the disk is full, or the folder may not be written to.

    An ``OSError`` as well, with its number and words: who can do without the file goes on.
    """

    def __init__(self, message: str, error: OSError) -> None:
        super().__init__(error.errno, error.strerror or str(error))
        self.message = message

    def __str__(self) -> str:
        return visible(self.message)


class DataError(PACTError, ValueError):
    """Training data cannot be read or written, or holds rows that are no conversation."""


class AttachmentError(PACTError, RuntimeError):
    """The term cannot be attached to this model or trainer."""


class UnprotectedTrainingError(PACTError, RuntimeError):
    """The term did not reach the loss that the trainer back-propagated."""


class LostRankError(PACTError, RuntimeError):
    """Another process of a distributed run has gone, or does not answer."""


class ActivationError(PACTError, RuntimeError):
    """The start-up line cannot be written or removed, or a framework could not be given its short name."""
