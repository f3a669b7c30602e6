"""What is said of a model that cannot be loaded."""

from __future__ import annotations

import pytest

from pact_plugins.modeling.loading import why_not_loaded


@pytest.mark.parametrize("name", ["/nowhere", "./nowhere", "~/nowhere", "runs/out/checkpoint-3"])
def test_a_path_that_leads_nowhere(name):
    assert why_not_loaded(name, OSError("Repo id must use alphanumeric chars")) == "no such folder"


def test_the_first_line_of_any_other_reason(tmp_path):
    assert why_not_loaded("org/name", OSError("offline\nand more")) == "offline"
    assert why_not_loaded(str(tmp_path), OSError("no config.json")) == "no config.json"
    assert why_not_loaded("org/name", ValueError()) == "ValueError"
