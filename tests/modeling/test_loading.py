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


def test_what_is_there_and_no_models_folder(tmp_path):
    (tmp_path / "file").touch()
    assert why_not_loaded(str(tmp_path / "file"), OSError()) == "it is a file; give the model's folder"
    # transformers speaks of a tokenizer's backend here, in several lines.
    assert "no config.json in it" in why_not_loaded(str(tmp_path), ValueError("Couldn't instantiate: \n(1) ..."))


def test_the_first_line_of_any_other_reason(tmp_path):
    assert why_not_loaded("org/name", OSError("offline\nand more")) == "no such folder; from the hub: offline"
    (tmp_path / "config.json").touch()
    assert why_not_loaded(str(tmp_path), OSError("no weights")) == "no weights"
    assert why_not_loaded("org/name", ValueError()) == "no such folder; from the hub: ValueError"
