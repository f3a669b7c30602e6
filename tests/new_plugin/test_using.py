"""A new plugin in use: installed, its own tests, a training, an evaluation, a comparison, commands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from pact_lab import tiny_world
from pact_plugins.new_plugin import KINDS, write_plugin
from tests.helpers.strangers import Stranger

pytestmark = pytest.mark.framework


def installed(folder: Path, *kinds: str) -> Stranger:
    """A new plugin, and beside it what an editable installation leaves: metadata from its project file."""
    package = folder / "my-plugin"
    write_plugin(package, "my-plugin", [KINDS[kind] for kind in kinds])
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    information = folder / "site" / f"my_plugin-{project['version']}.dist-info"
    information.mkdir(parents=True)
    header = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (information / "METADATA").write_text(header)
    ((name, target),) = project["entry-points"]["pact"].items()
    (information / "entry_points.txt").write_text(f"[pact]\n{name} = {target}\n")
    return Stranger(folder, package, information.parent)


def settings(plugin: Stranger) -> dict[str, object]:
    """Every ``pact:`` block of its README."""
    found: dict[str, object] = {}
    for text in re.findall(r"```yaml\n(.*?)```", (plugin.site / "README.md").read_text(), re.DOTALL):
        found |= yaml.safe_load(text)["pact"]
    return found


def own_tests(plugin: Stranger) -> str:
    return plugin.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=plugin.site)


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Stranger:
    return installed(tmp_path_factory.mktemp("plugin"), *KINDS)


def test_the_tests_of_all_kinds_pass_and_pact_lists_it(everything):
    assert re.search(r"^\d\d passed", own_tests(everything), re.MULTILINE)
    rows = json.loads(everything.pact("plugins", "--json"))
    (row,) = [row for row in rows if row["name"] == "my_plugin"]
    assert (row["distribution"], row["version"]) == ("my-plugin", "0.1.0")
    assert row["hooks"] == sorted(kind.hook for kind in KINDS.values())


@pytest.mark.matrix
@pytest.mark.parametrize("kind", KINDS)
def test_the_tests_of_one_kind_alone_pass(tmp_path, kind):
    assert " passed" in own_tests(installed(tmp_path, kind))


def test_its_own_tests_would_see_a_mistake(tmp_path):
    plugin = installed(tmp_path, "judge")
    judge = plugin.site / "my_plugin" / "judge.py"
    judge.write_text(judge.read_text().replace('"sorry" in', '"sure" in'))
    with pytest.raises(AssertionError, match="1 failed, 1 passed"):
        own_tests(plugin)


def test_training_with_what_the_readme_says(everything):
    """Objective, token scorer, reference and part of one package, together."""
    _, record = everything.train(settings(everything))
    assert (record["reference"], record["optimizer_steps_protected"]) == ("my_plugin", 2)
    assert record["config"]["safety_tokens"]["scorer"] == "my_plugin"
    # A receipt a micro-batch for the term, one for the part, and one a step for the anchor of the default preset.
    assert record["gradient_receipts"] == 6
    assert {"pact/gap", "pact/state_size"} <= record["last_log"].keys()
    assert record["last_log"]["pact/kl"] > 0


def test_an_evaluation_with_its_task_and_its_judge(everything):
    model = str(tiny_world.aligned_path())
    tasks = "my_plugin_greetings,pact_refusal"
    everything.pact("eval", model, "--tasks", tasks, "--limit", "2", "--device", "cpu", "-o", "run")
    (results,) = (everything.folder / "run").glob("*/results_*.json")
    assert "my_plugin_greetings" in results.read_text()
    assert "Judged by my_plugin (revision 0.1.0)" in everything.pact("judge", "run", "--judge", "my_plugin")


def test_its_framework_and_its_command(everything):
    assert everything.pact("train", "my_plugin", "config.yaml") == "training with config.yaml\n"
    assert everything.pact("my-plugin") == "hello from a plugin\n"


@pytest.mark.matrix
def test_its_method_is_compared(everything):
    options = [
        "--methods",
        "my_plugin",
        "--scenarios",
        "mixture-p05",
        "--seeds",
        "1",
        "--prompts",
        "2",
        "-o",
        "compared",
    ]
    assert "my_plugin" in everything.pact("compare", *options)


def test_no_command_waits_for_torch_because_of_it(everything):
    script = (
        "import sys; from pact_plugins.plugins import loaded_plugins; loaded_plugins(); print('torch' in sys.modules)"
    )
    assert everything.run("-c", script) == "False\n"


@pytest.mark.matrix
def test_an_installer_takes_it(tmp_path):
    """Built and unpacked by the tools that people use, task files included."""
    write_plugin(tmp_path / "new", "my-plugin", list(KINDS.values()), "MIT")
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--target", tmp_path / "site", tmp_path / "new"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    plugin = Stranger(tmp_path, tmp_path / "site")
    assert "my_plugin" in plugin.pact("plugins")
    assert (tmp_path / "site" / "my_plugin" / "tasks" / "greetings.yaml").is_file()
    assert "License-Expression: MIT" in (tmp_path / "site" / "my_plugin-0.1.0.dist-info" / "METADATA").read_text()
