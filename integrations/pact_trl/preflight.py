"""What is wrong with a YAML, or cannot be loaded, is one line: TRL's script would end in a traceback."""

from __future__ import annotations

import difflib
import glob
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from pact_plugins.cli.options import a_model
from pact_plugins.errors import ConfigurationError, DataError, PACTError
from pact_plugins.files import is_missing

# TRL takes it out of the YAML itself.
_ENVIRONMENT = "env"
_BLOCK = "pact"  # taken out of the settings before


def refuse_misspelt_block(settings: Mapping[str, Any], path: Path) -> None:
    """Known before TRL is imported, which takes half a minute on a busy machine.

    Raises:
        ConfigurationError: a key of the YAML is all but ``pact``.
    """
    for key in difflib.get_close_matches(_BLOCK, map(str, settings), n=1, cutoff=0.75):
        if key != _BLOCK:
            raise ConfigurationError(f"{path}: {key}: unknown key; did you mean {_BLOCK!r}?")


def parse(parser: Any, settings: Mapping[str, Any], arguments: Sequence[str], path: Path) -> Any:
    """What TRL's parser makes of its part of the YAML and of the options.

    Raises:
        ConfigurationError: names the key or option that is unknown or has a wrong value.
    """

    def refuse(message: str) -> NoReturn:
        raise ConfigurationError(f"{path}: {message}")

    known = [_BLOCK, *(option.removeprefix("--") for option in parser._option_string_actions)]
    for key in settings:
        if key not in known and key != _ENVIRONMENT:
            close = difflib.get_close_matches(str(key), known, n=1)
            refuse(f"{key}: unknown key{f'; did you mean {close[0]!r}?' if close else ' of TRL, and not pact'}")
    parser.error = refuse
    try:
        return parser.parse_args_and_config(list(arguments))
    except PACTError:
        raise
    except (ValueError, TypeError) as error:
        refuse(" ".join(str(error).split()))


def check(script: Any, model: Any, mixture: Any, path: Path) -> str:
    """Model and data are named, and what can only be a path leads somewhere.

    Returns:
        the model's name.

    Raises:
        ConfigurationError: names the key.
    """
    if not model.model_name_or_path:
        raise ConfigurationError(f"{path}: model_name_or_path: is not set; name the aligned model to start from")
    a_model(model.model_name_or_path, f"{path}: model_name_or_path")
    if not script.dataset_name and not mixture.datasets:
        raise ConfigurationError(f"{path}: dataset_name: is not set, and neither are datasets; name the training data")
    names = [part.path for part in mixture.datasets or ()] or [script.dataset_name]
    files = [file for part in mixture.datasets or () for file in _data_files(part.data_files)]
    missing = [name for name in names if is_missing(name)]
    missing += [file for file in files if "://" not in file and not glob.glob(file, recursive=True)]
    if missing:
        raise ConfigurationError(f"{path}: data: no such file or folder: {', '.join(missing)}")
    return str(model.model_name_or_path)


def _data_files(given: Any) -> list[str]:
    if isinstance(given, str):
        return [given]
    values = given.values() if isinstance(given, Mapping) else given or ()
    return [file for value in values for file in _data_files(value)]


@contextmanager
def loading_in_one_line(path: Path, model: str) -> Iterator[None]:
    """Around the whole run: an error of loading model or data becomes one of ours, any other stays as it is."""
    from datasets.exceptions import DatasetsError

    from pact_plugins.modeling.loading import why_not_loaded

    try:
        yield
    except PACTError:
        raise
    except ValueError as error:
        if "training-compatible" not in str(error):
            raise
        raise ConfigurationError(
            f"{path}: assistant_only_loss: the chat template of {model} does not mark what the assistant writes "
            "({% generation %}). Leave the key out: rows of `messages` are protected without it; or give rows with "
            "`prompt` and `completion`, of which the completion alone is learnt"
        ) from error
    except (DatasetsError, OSError) as error:
        # The hub's client, transformers and datasets say in words what is not there; the system's errors have a number.
        if getattr(error, "errno", None) is not None:
            raise
        if (
            type(error) is not OSError
        ):  # transformers raises it itself, datasets and the hub's client kinds of their own
            raise DataError(f"{path}: the data cannot be loaded: {_first_lines(error)}") from error
        reason = why_not_loaded(model, error)
        raise ConfigurationError(f"{path}: model_name_or_path: {model} cannot be loaded: {reason}") from error


def _first_lines(error: BaseException) -> str:
    causes = [error] if error.__cause__ is None else [error, error.__cause__]
    return ": ".join(next(iter(str(cause).strip().splitlines()), type(cause).__name__) for cause in causes)
