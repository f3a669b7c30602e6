"""Asking the reference once more for a few sequences that the store holds: are the kept numbers still its own?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import torch

from pact_plugins.batch.sequences import TokenSequence
from pact_plugins.contracts import Reference
from pact_plugins.errors import ConfigurationError
from pact_plugins.reference.cache.building import ReferenceQuestion
from pact_plugins.reference.cache.store import ReferenceStore

_INSPECTED, _ASKED = 64, 4
# Mean total variation over the tokens. Half precision in another batch moves it by a few hundredths at most, another
# model by several tenths.
_TOLERATED = 0.1


def check_sample(
    sources: Callable[[], Iterable[TokenSequence]],
    store: ReferenceStore,
    reference: Reference,
    question: ReferenceQuestion,
) -> None:
    """Compare up to four kept sequences among the first of ``sources`` with what ``reference`` answers now.

    Raises:
        ConfigurationError: they differ: the files are whole, and hold something else.
    """
    first = list(islice(sources(), _INSPECTED))
    places = store.locate([sequence.key for sequence in first])
    kept = [(sequence, place) for sequence, place in zip(first, places, strict=True) if place is not None][:_ASKED]
    if not kept:
        return
    entries = question.ask(reference, [sequence for sequence, _ in kept], range(len(kept)))
    now = torch.softmax(torch.cat([entry.full for entry in entries]).float(), dim=-1)
    then = torch.softmax(store.read([place for _, place in kept])[0], dim=-1)
    difference = float((now - then).abs().sum(dim=-1).mean() / 2)
    if not difference <= _TOLERATED:
        raise ConfigurationError(
            f"reference.cache_path: the cached reference logits in {store.folder} are not what the reference answers "
            "now (a mean "
            f"total variation of {difference:.2f} over {len(now)} tokens): another version of a library, or somebody "
            f"else's numbers. Compute them again: `pact cache clear {store.folder.name}`"
        )
