from __future__ import annotations

import json

from click.testing import CliRunner

from pact_lab.tiny_world import aligned_path
from pact_lab.tiny_world.cli import tiny_world


def invoke(*arguments):
    return CliRunner().invoke(tiny_world, [str(argument) for argument in arguments])


def test_build_writes_a_world_and_says_so(tmp_path):
    result = invoke("build", tmp_path / "w", "--base-examples", 20, "--aligned-examples", 20)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"Wrote {tmp_path / 'w' / 'base'} and {tmp_path / 'w' / 'aligned'}"
    assert (tmp_path / "w" / "aligned" / "model.safetensors").is_file()
    assert "training aligned: 100%" in result.stderr


def test_build_refuses_an_existing_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    result = invoke("build", tmp_path)
    assert result.exit_code == 1
    assert f"Error: {tmp_path} exists already" in result.output
    assert "Traceback" not in result.output


def test_evaluate_as_json_and_as_table():
    result = invoke("evaluate", aligned_path(), "--prompts", 20, "--json")
    assert result.exit_code == 0, result.output
    measured = json.loads(result.stdout)
    assert measured["harmful"]["refuse"] == 1.0
    assert measured["benign"]["comply"] == 1.0
    table = invoke("evaluate", aligned_path(), "--prompts", 20).stdout
    assert "harmful, sampled" in table
    assert "task accuracy" in table


def test_evaluate_names_a_folder_without_a_model(tmp_path):
    result = invoke("evaluate", tmp_path)
    assert result.exit_code == 1
    assert f"Error: {tmp_path} has no config.json" in result.output
    assert "Traceback" not in result.output


def test_path_prints_the_checkpoint_that_ships():
    assert invoke("path").stdout == f"{aligned_path()}\n"
