"""The drift watch asks the decoder between two forward passes, also where FSDP2 has sharded its parameters."""

from __future__ import annotations

import pytest

from tests.engines import launching
from tests.engines.conftest import read

pytestmark = [pytest.mark.framework, pytest.mark.matrix]
NAMES = [f"pact/refusal_mass_{kind}" for kind in ("harmful", "lookalike", "plain")]


def logged(engine, folder, checkpoints):
    """The watch's values in the last line of the log that has some."""
    config = {"drift_watch": {"every": 1, "prompts": 4}}
    case = {"model": checkpoints[0], "adapter": "lora", "learning_rate": 0.5, "config": config, "opening_tokens": True}
    launching.start(engine, folder, {"watched": case})
    lines = [line for line in read(folder / "watched")[1]["logs"] if NAMES[0] in line]
    return {name: lines[-1][name] for name in (*NAMES, "pact/drift")}


def test_sharded_or_not_it_says_the_same(tmp_path, checkpoints):
    found, expected = (logged(engine, tmp_path / engine, checkpoints) for engine in ("fsdp2", "ddp"))
    assert found == pytest.approx(expected, abs=1e-4)
    assert expected["pact/drift"] > 1e-3
