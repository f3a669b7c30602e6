"""``pact examples``: the files of the checkout, whole, and nothing of somebody's runs."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from pact_plugins.cli import examples as module

CHECKOUT = Path(__file__).parents[2] / "examples"


def written(folder):
    return CliRunner().invoke(module.examples, [str(folder)])


def test_every_file_is_written_as_it_is(tmp_path):
    home = tmp_path / "new" / "examples"
    done = written(home)
    assert done.exit_code == 0, done.output
    copies = {file.relative_to(home) for file in home.rglob("*") if file.is_file()}
    assert {Path("trl/tiny.yaml"), Path("axolotl/tiny_lora.yml"), Path("llamafactory/data/dataset_info.json")} <= copies
    for name in copies:
        assert (home / name).read_bytes() == (CHECKOUT / name).read_bytes()
    assert f"{len(copies)} files" in done.output


def test_what_a_run_left_in_the_checkout_is_no_example(tmp_path, monkeypatch):
    home = tmp_path / "home"
    for name in ("trl/tiny.yaml", "trl/runs/tiny/pact.json", "trl/__pycache__/finetune.pyc"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
    monkeypatch.setattr(module, "_PLACES", (tmp_path / "no wheel", home))
    assert written(tmp_path / "copy").exit_code == 0
    assert [file.name for file in (tmp_path / "copy").rglob("*") if file.is_file()] == ["tiny.yaml"]


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    done = written(tmp_path)
    assert "is there already" in str(done.exception)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
