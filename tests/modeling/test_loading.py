"""What is said of a model that cannot be loaded."""

from __future__ import annotations

import pytest

from pact_plugins.modeling.loading import why_not_loaded


@pytest.mark.parametrize("name", ["/nowhere", "./nowhere", "~/nowhere", "runs/out/checkpoint-3"])
def test_a_path_that_leads_nowhere(name):
    assert why_not_loaded(name, OSError("Repo id must use alphanumeric chars")) == "no such folder"


def test_a_similar_folder_is_offered(tmp_path, monkeypatch):
    (tmp_path / "runs" / "aligned").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    offline = OSError("offline\nand more")
    assert why_not_loaded("./runs/alinged", offline) == "no such folder (did you mean runs/aligned?)"
    # Two parts may be the name of a model on the hub as well.
    assert why_not_loaded("runs/alinged", offline) == (
        "no such folder (did you mean runs/aligned?); from the hub: offline"
    )
    assert why_not_loaded("runs/other", offline) == "no such folder; from the hub: offline"


def test_the_first_line_of_any_other_reason(tmp_path):
    assert why_not_loaded("org/name", OSError("offline\nand more")) == "no such folder; from the hub: offline"
    assert why_not_loaded(str(tmp_path), OSError("no config.json")) == "no config.json"
    assert why_not_loaded("org/name", ValueError()) == "no such folder; from the hub: ValueError"
