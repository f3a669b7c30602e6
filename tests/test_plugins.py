"""Every hook is documented and exercised; strangers' packages are loaded and listed, or refused by name."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import pluggy
import pytest
from click.testing import CliRunner

from pact_plugins import PACTConfig, hookspecs, plugins
from pact_plugins.errors import ActivationError, ConfigurationError, PACTError
from pact_plugins.hookspecs import hookimpl
from tests.helpers.packages import HOOKS_PAGE, documented_example, write_installed, write_wheel
from tests.helpers.trainers import python_path

HOOKS = {
    name: function
    for name, function in inspect.getmembers(hookspecs, inspect.isfunction)
    if hasattr(function, "pact_spec")
}


@pytest.fixture(autouse=True)
def fresh_manager():
    """No test sees the plugins of another."""
    plugins.get_plugin_manager.cache_clear()
    yield
    plugins.get_plugin_manager.cache_clear()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a stranger's package on the path of this process."""
    installed = []

    def install(source, **names):
        folder = write_installed(tmp_path / f"site{len(installed)}", source, **names)
        installed.append(names.get("name", "stranger"))
        monkeypatch.syspath_prepend(str(folder))
        plugins.get_plugin_manager.cache_clear()
        return folder

    yield install
    for name in installed:
        sys.modules.pop(name, None)


# --- every hook ------------------------------------------------------------------------------------------------------


def test_all_hooks_are_seen():
    manager = pluggy.PluginManager("pact")
    manager.add_hookspecs(hookspecs)
    assert {name for name in vars(manager.hook) if not name.startswith("_")} == HOOKS.keys()


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_has_a_docstring_and_a_test(name):
    assert HOOKS[name].__doc__
    assert f"test_hook_{name}" in globals(), f"write test_hook_{name}"


def test_the_page_documents_exactly_the_hooks_and_their_arguments():
    headings = re.findall(r"^## `(\w+)\((.*?)\)`$", HOOKS_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    documented = dict(headings)
    assert len(headings) == len(documented)
    assert documented == {name: ", ".join(inspect.signature(function).parameters) for name, function in HOOKS.items()}


def test_hook_register_objectives(install):
    import torch

    from pact_plugins.contracts import MixtureSettings, ObjectiveInputs

    install(documented_example("register_objectives"))
    config = PACTConfig(preset="match", term={"objective": "squared_distance", "options": {"scale": 3.0}})
    assert config.term.weight == 0.5
    output = config.term.spec.compute(
        ObjectiveInputs(
            train_logits=torch.ones(2, 4),
            reference_logits=torch.zeros(2, 4),
            prompt_free_logits=None,
            weights=None,
            positions=torch.arange(2),
            temperature=2.0,
            mixture=MixtureSettings(),
            options=config.term.options,
        )
    )
    assert output.divergence.tolist() == [3.0, 3.0]


def test_hook_register_token_scorers(install):
    import torch

    install(documented_example("register_token_scorers"))
    assert PACTConfig(safety_tokens={"scorer": "probability"}).safety_tokens.scorer == "probability"
    scorer = plugins.token_scorers()["probability"]
    assert torch.equal(scorer.score(torch.zeros(2), torch.ones(2)), torch.ones(2))


def test_hook_register_references(install, capsys):
    from pact_plugins.training.preparation import Run, prepare
    from tests.helpers.tiny import tiny_llama, tiny_safety_tokens, tiny_tokenizer

    install(documented_example("register_references"))
    run = Run(safety_tokens=tiny_safety_tokens())
    preparation = prepare(tiny_llama(), tiny_tokenizer(), PACTConfig(preset="match", reference={"kind": "even"}), run)
    assert preparation.reference.name == "even"
    assert "equally likely" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"row_gate": {"mode": "hard"}}, "row_gate: it needs the mass of refusal openings"),
        ({"term": {"objective": "full_kl"}}, "term: it needs logits of the whole vocabulary"),
    ],
)
def test_a_reference_that_cannot_answer_is_refused_before_training(install, settings, named):
    from pact_plugins.training.preparation import Run, prepare
    from tests.helpers.tiny import tiny_llama, tiny_safety_tokens, tiny_tokenizer

    install(documented_example("register_references"))
    tokens = tiny_safety_tokens()
    tokens = replace(tokens, settings={**tokens.settings, "refusal_opening_tokens": [5], "refusal_threshold": 0.5})
    with pytest.raises(ConfigurationError, match=f"{named}.*, which reference.kind: even cannot give"):
        prepare(
            tiny_llama(),
            tiny_tokenizer(),
            PACTConfig(reference={"kind": "even"}, **settings),
            Run(safety_tokens=tokens),
        )


def test_hook_register_parts(install):
    install(documented_example("register_parts"))
    config = PACTConfig(preset="off", small_states={"weight": 0.5})
    assert config.parts.keys() == {"small_states"}
    assert config.small_states.weight == 0.5
    assert PACTConfig().small_states is False
    with pytest.raises(ConfigurationError, match=r"small_states\.wieght: unknown key; did you mean 'weight'"):
        PACTConfig.from_mapping({"small_states": {"wieght": 1}})
    with pytest.raises(ConfigurationError, match="large_states: unknown key; did you mean 'small_states'"):
        PACTConfig.from_mapping({"large_states": {}})


def test_hook_register_presets(install):
    install(documented_example("register_presets"))
    config = PACTConfig(preset="light_anchor", anchor={"share": 0.5})
    assert config.parts.keys() == {"anchor"}
    assert (config.anchor.replies, config.anchor.every, config.anchor.share) == (16, 4, 0.5)


def test_hook_register_short_names(install):
    from pact_plugins.activation.targets import registered_targets

    install(documented_example("register_short_names"))
    assert registered_targets()["small_framework.training"] == "stranger:teach"
    assert "small-framework" in [short_name.distribution for short_name in plugins.short_names()]


def test_two_short_names_that_want_one_module(install):
    from pact_plugins.activation.targets import registered_targets

    source = documented_example("register_short_names")
    install(source, name="first")
    install(source.replace("stranger:teach", "second:teach"), name="second")
    with pytest.raises(ActivationError, match=r"small_framework\.training is imported"):
        registered_targets()


def test_hook_register_task_folders(install):
    folder = install(documented_example("register_task_folders"))
    (folder / "stranger_tasks").mkdir()
    with pytest.raises(PACTError, match=r"register_task_folders: .*stranger_tasks.* a folder of \*\.yaml files"):
        plugins.task_folders()
    (folder / "stranger_tasks" / "greetings.yaml").write_text("task: greetings")
    assert folder / "stranger_tasks" in plugins.task_folders()


@pytest.mark.parametrize(
    ("hook", "given"),
    [
        ("register_objectives", "register(len)"),
        ("register_token_scorers", 'register("p_diff")'),
        ("register_frameworks", "register(object())"),
        ("register_methods", "register(dict)"),
        ("register_short_names", 'register("pact")'),
        ("register_task_folders", "register(3)"),
        ("register_references", 'register("mine", dict)'),
        ("register_parts", "register(dict)"),
        ("register_presets", 'register("mine")'),
        ("register_judges", 'register("mine", str)'),
    ],
)
def test_what_is_not_of_the_kind_is_refused_by_name_when_it_is_registered(install, hook, given):
    install(f"from pact_plugins.hookspecs import hookimpl\n\n\n@hookimpl\ndef {hook}(register):\n    {given}\n")
    with pytest.raises(PACTError, match=rf"^{hook}: .* is not what the hook takes"):
        getattr(plugins, hook.removeprefix("register_"))()


def test_hook_register_frameworks(install):
    install(documented_example("register_frameworks"))
    cli = click.Group()
    plugins.get_plugin_manager().hook.register_commands(cli=cli)
    result = CliRunner().invoke(cli, ["train", "my_framework", "config.yaml", "--steps", "3"])
    assert result.exit_code == 0
    assert result.output == "training with config.yaml --steps 3\n"
    assert "trains with my own trainer" in CliRunner().invoke(cli, ["train", "--help"]).output


def test_hook_register_judges(install):
    from pact_evals.judges import get_judge

    install(documented_example("register_judges"))
    judge = get_judge("polite")
    rows = [{"prompt": "x", "response": answer} for answer in ("Sorry.", "Sure.", "<think>Sorry")]
    assert judge.label(rows) == ["refusal", "compliance", "empty"]
    assert (judge.identity.name, judge.identity.tier) == ("polite", "custom")
    assert not judge.measures_harm_only


def test_hook_register_methods(install):
    import random

    from pact_lab.methods import configured
    from pact_plugins.contracts import TransformContext

    install(documented_example("register_methods"))
    method = plugins.methods()["half"]
    common = {"safety_tokens": {"top_k": 20}}
    assert configured(method, common) == PACTConfig(preset="match", **common)
    rows = [{"number": number} for number in range(10)]
    assert len(method.transform(rows, TransformContext((), random.Random(0)))) == 5


def test_hook_register_commands(install):
    install(documented_example("register_commands"))
    group = click.Group()
    plugins.get_plugin_manager().hook.register_commands(cli=group)
    assert {"hello", "calibrate", "inspect", "plugins", "train"} <= group.commands.keys()
    assert CliRunner().invoke(group, ["hello"]).output == "hello from a plugin\n"


# --- what ships ------------------------------------------------------------------------------------------------------


def test_what_ships_goes_through_the_same_hooks():
    assert {"match", "published", "published_positive", "full_kl"} <= plugins.objectives().keys()
    assert {"p_diff", "pref_logratio"} <= plugins.token_scorers().keys()
    assert {"adapter_off", "frozen_copy"} <= plugins.references().keys()
    manager = plugins.get_plugin_manager()
    assert {"sft", "match", "mixed_refusals"} <= plugins.methods().keys()
    assert plugins.parts().keys() >= {"term", "row_gate", "anchor"}
    for name in ("term.plugin", "row_gate.plugin", "default_plugins.token_scorers", "default_plugins.references"):
        manager.unregister(name=f"pact_plugins.{name}")
    manager.unregister(name="lab")
    assert "match" not in plugins.objectives()
    assert "p_diff" not in plugins.token_scorers()
    assert "adapter_off" not in plugins.references()
    assert plugins.parts().keys() == {"anchor"}
    assert not plugins.methods()


def test_loading_is_idempotent():
    assert plugins.get_plugin_manager() is plugins.get_plugin_manager()


# --- strangers -------------------------------------------------------------------------------------------------------


def test_loaded_plugins_are_listed_with_their_distribution(install):
    install(documented_example("register_objectives"))
    rows = {row.name: row for row in plugins.loaded_plugins()}
    assert rows["stranger"] == plugins.LoadedPlugin("stranger", "stranger", "1.2.3", ("register_objectives",))
    built_in = rows["pact_plugins.term.plugin"]
    assert built_in.distribution == "pact-plugins (built in)"
    assert rows["trl"].distribution == "pact-plugins"


def test_two_plugins_that_register_one_name(install):
    install(documented_example("register_objectives"), name="first")
    install(documented_example("register_objectives"), name="second")
    with pytest.raises(PACTError, match="two plugins register the objective 'squared_distance'"):
        plugins.objectives()


def test_nobody_replaces_what_ships(install):
    install(documented_example("register_objectives").replace('"squared_distance"', '"match"'))
    with pytest.raises(PACTError, match="two plugins register the objective 'match'"):
        plugins.objectives()


def test_two_plugins_of_one_name(install):
    install(documented_example("register_objectives"), name="first", plugin="same")
    install(documented_example("register_token_scorers"), name="second", plugin="same")
    with pytest.raises(PACTError, match=r"two plugins are called 'same'.*(first|second)"):
        plugins.get_plugin_manager()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import a_module_that_is_not_there", "a_module_that_is_not_there"),
        ("1 / 0", "division by zero"),
        (documented_example("register_objectives").replace("(register):", "(register, more):"), "more"),
        (
            documented_example("register_objectives").replace("def register_obj", "def registr_obj"),
            "registr_objectives",
        ),
    ],
)
def test_a_broken_plugin_is_named(install, source, message):
    install(source, name="broken_package", plugin="broken_plugin")
    with pytest.raises(PACTError, match="the plugin 'broken_plugin' of the package broken_package") as error:
        plugins.get_plugin_manager()
    assert message in str(error.value)


def test_a_broken_plugin_cannot_be_missed_in_a_configuration(install):
    install("1 / 0", name="broken_package")
    with pytest.raises(PACTError, match="broken_package"):
        PACTConfig()


TRAINING = """
import json, sys
from tests.helpers.trainers import Watch, pact, sft_trainer

watch = Watch(move=True)
callback = pact({"term": {"objective": "squared_distance", "options": {"scale": 2.0}}})
sft_trainer(sys.argv[1], callbacks=[callback, watch]).train()
print(json.dumps(watch.losses[0]))
"""


@pytest.mark.framework
@pytest.mark.matrix
def test_a_strangers_installed_objective_trains(tmp_path):
    wheel = write_wheel(tmp_path, documented_example("register_objectives"))
    site = tmp_path / "site"
    installer = Path(sys.executable).with_name("uv")
    command = [str(installer), "pip", "install"] if installer.exists() else [sys.executable, "-m", "pip", "install"]
    subprocess.run(
        [*command, "--no-deps", "--target", str(site), str(wheel)],
        check=True,
        capture_output=True,
        env={**os.environ, "VIRTUAL_ENV": sys.prefix},
    )
    environment = python_path()
    environment["PYTHONPATH"] += os.pathsep + str(site)
    finished = subprocess.run(
        [sys.executable, "-c", TRAINING, str(tmp_path / "run")],
        env=environment,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    log = json.loads(finished.stdout.splitlines()[-1])
    assert log["pact/gap"] > 0
    assert log["pact/kl"] > 0
    assert log["pact/loss"] == pytest.approx(0.5 * log["pact/kl"])
    record = json.loads((tmp_path / "run" / "pact.json").read_text())
    assert record["config"]["term"]["objective"] == "squared_distance"
    assert record["optimizer_steps_protected"] == 1


def test_hookimpl_is_pluggys():
    assert isinstance(hookimpl, pluggy.HookimplMarker)
