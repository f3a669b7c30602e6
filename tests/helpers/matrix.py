"""Which rows of a table of combinations every run of the tests goes through, and which are left to the full matrix."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest


def rows(names: Collection[Any], *, always: Collection[Any]) -> list[Any]:
    """Parameters for ``names``; all but those in ``always`` are marked ``matrix``.

    Raises:
        ValueError: a name in ``always`` is not in ``names``.
    """
    unknown = set(always) - set(names)
    if unknown:
        raise ValueError(f"not in the table: {sorted(unknown)}")
    return [pytest.param(name, marks=() if name in always else pytest.mark.matrix) for name in names]
