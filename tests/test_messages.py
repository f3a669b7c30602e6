"""What libraries warn one another of is no news in a command of ours; in a user's own program it stays."""

from __future__ import annotations

import sys
import warnings

import pytest

from pact_plugins.messages import without_future_warnings


def shown(module: str, category: type[Warning]) -> int:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with without_future_warnings():
            warnings.warn_explicit("old name", category, "file.py", 1, module=module)
    return len(caught)


@pytest.mark.parametrize(
    ("module", "category", "count"),
    [
        ("transformers.training_args", FutureWarning, 0),
        ("trl", FutureWarning, 0),
        ("transformers.training_args", UserWarning, 1),
        ("my_callback", FutureWarning, 1),
        ("trlike.module", FutureWarning, 1),
    ],
)
def test_only_libraries_and_only_the_future(module, category, count):
    assert shown(module, category) == count


def test_what_is_asked_for_is_shown(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", ["always"])
    assert shown("transformers.training_args", FutureWarning) == 1
