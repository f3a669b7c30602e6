"""What names a store, and what lies in its folder. `pact cache info` reads it without torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pact_plugins.batch.openings import RefusalCriterion

# 2: a checksum for each entry, and the store's name beside the file's own. 3: logits alone.
FORMAT = "pact-reference-cache/3"
MASSES_FORMAT = "pact-refusal-masses/1"
DESCRIPTION_FILE = "store.json"
# Folders of the cache, with a store in each folder below.
LOGITS, MASSES = "reference", "refusals"


@dataclass(frozen=True)
class StoreDescription:
    """Everything that the numbers in a store depend on besides the sequences; it names the folder.

    The tokenizer is not among it: keys are token ids, and ids are all that the model sees.

    Attributes:
        reference_model: fingerprint of the reference's weights.
        dtype, autocast: of these weights, and of the mixed precision around them or None.
        safety_tokens: hash of the token ids.
        token_count: |S|.
        header: hash of the assistant header, or None where no prompt-free logits are kept.
    """

    reference_model: str
    dtype: str
    autocast: str | None
    safety_tokens: str
    token_count: int
    header: str | None

    @property
    def name(self) -> str:
        """24 hexadecimal digits."""
        return hashlib.sha256(json.dumps([FORMAT, asdict(self)]).encode()).hexdigest()[:24]


def shard_names(folder: Path) -> set[str]:
    """The finished shards in a store's folder."""
    # Names with a dot in front are files in the making.
    names = {path.stem for path in folder.glob("*.json") if not path.name.startswith(".")}
    return names - {Path(DESCRIPTION_FILE).stem}


def hash_of_ids(ids: Any) -> str:
    """16 hexadecimal digits over token ids."""
    return hashlib.sha256(json.dumps([int(value) for value in ids]).encode()).hexdigest()[:16]


def hash_of_criterion(criterion: RefusalCriterion) -> str:
    """16 hexadecimal digits over the openings, where the mass is exact, and how contexts are put."""
    content: list[Any] = [sorted(map(list, criterion.openings.sequences)), criterion.exact_above]
    if criterion.question is not None:
        content.append(criterion.question.fingerprint)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
