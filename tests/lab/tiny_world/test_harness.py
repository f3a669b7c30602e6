"""The toy benchmark's rows under lm-eval."""

from __future__ import annotations

from pact_lab.tiny_world.harness import tiny_rows


def test_tiny_rows_follow_their_settings():
    assert len(tiny_rows("tiny:harmful", {})) == 150
    few = tiny_rows("tiny:benign", {"prompts": 5, "seed": 3})
    assert len(few) == 5
    assert few != tiny_rows("tiny:benign", {"prompts": 5, "seed": 4})
    assert all(row["answer"] for row in tiny_rows("tiny:task", {"prompts": 4}))
