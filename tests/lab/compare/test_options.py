"""Options of `pact compare` that cannot be followed are named before anything is trained."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from pact_lab.compare.cli import compare


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--methods", "sft,magic"], "magic"),
        (["--model", "x"], "--data"),
        (["--scenarios", "nowhere"], "nowhere"),
    ],
)
def test_bad_options_are_named(arguments, named, tmp_path):
    result = CliRunner().invoke(compare, ["-o", str(tmp_path / "out"), *arguments])
    assert result.exit_code
    assert named in result.output + str(result.exception)
    assert not (tmp_path / "out").exists()
