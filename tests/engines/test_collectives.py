"""How often the ranks speak to each other for us: once an optimizer step, whatever the number of micro-batches."""

from __future__ import annotations

import pytest

from tests.engines import launching
from tests.engines.conftest import read

pytestmark = [pytest.mark.framework, pytest.mark.matrix]
ONCE = ["training/receipts.py"]
ANCHOR = {"preset": "match", "anchor": {"prompts": "bundled", "replies": 4, "max_new_tokens": 4}}
CONFIGURATIONS = {
    "online": {},
    "cache": {"reference": {"kind": "cache"}},
    "anchor": ANCHOR,
    "cache and anchor": {"reference": {"kind": "cache"}, **ANCHOR},
}
# Where parameters are sharded, all ranks take part in a pass for a row that the cache lacks, in each of two
# micro-batches, and in the anchor's over the whole vocabulary with the last of them: they agree on how many there are.
# Whether its replies join the trainer's own pass, they agree once.
JOINING = "training/joining.py"
SHARDED = {
    "online": [],
    "cache": ["reference/cached.py"] * 2,
    "anchor": [JOINING, "batch/chunked.py"],
    "cache and anchor": ["reference/cached.py", JOINING, "reference/cached.py", "batch/chunked.py"],
}


def runs(engine, folder, checkpoints, ranks):
    """The steps of each configuration, of the first rank: the second has no line of the log."""
    case = {"model": checkpoints[0], "adapter": "lora", "learning_rate": 0.5, "count": True, "logging_steps": 100}
    # Two micro-batches on each of four ranks, of eight rows.
    case["per_device_train_batch_size"] = 1
    cases = {name: {**case, "config": config} for name, config in CONFIGURATIONS.items()}
    launching.start(engine, folder, cases, ranks=ranks)
    return {name: read(folder / name)[1]["collectives"][0] for name in CONFIGURATIONS}


@pytest.mark.parametrize("ranks", [2, 4])
def test_data_parallel(tmp_path, checkpoints, ranks):
    found = runs("ddp", tmp_path, checkpoints, ranks)
    assert found == {name: [*[JOINING] * ("anchor" in name), *ONCE] for name in CONFIGURATIONS}


@pytest.mark.parametrize("ranks", [2, 4])
def test_fully_sharded(tmp_path, checkpoints, ranks):
    found = runs("fsdp2", tmp_path, checkpoints, ranks)
    assert found == {name: [*SHARDED[name], *ONCE] for name in CONFIGURATIONS}
