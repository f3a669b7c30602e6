"""Whether a model in memory still has the weights that it began its first training of this process with."""

from __future__ import annotations

import weakref
from typing import Any

from torch import nn

from pact_plugins.modeling.fingerprint import model_fingerprint

_FIRST_SEEN: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()


def base_has_moved(causal_lm: Any) -> bool:
    """Whether weights that are no adapter's have changed since the first call for this model. Every rank must call it.

    What was trained in full, or merged, is no longer what an adapter switched off gives back.
    """
    found = model_fingerprint(causal_lm)
    return _FIRST_SEEN.setdefault(causal_lm, found) != found
