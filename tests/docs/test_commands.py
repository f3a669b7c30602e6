"""Commands, options and targets that the pages show exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest
import yaml

from pact_plugins import PACTConfig, plugins
from pact_plugins.cli import cli
from tests.docs.pages import ROOT, WRITTEN, blocks, prose, read

_INLINE = re.compile(r"`([^`\n]*(?:\n[^`\n]+)?)`")
_NESTED = re.compile(r"\$\((pact [^)]*)\)")


@pytest.fixture(scope="module")
def tree():
    plugins.get_plugin_manager().hook.register_commands(cli=cli)
    return dict(_walk(cli, "pact"))


def _walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """The command and every one below it, by its full name."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from _walk(below, f"{path} {name}")


def written_commands() -> list[tuple[str, str]]:
    """(page, command line) of everything that begins with ``pact``."""
    found = []
    for block in blocks():
        for line in re.sub(r"\\\n\s*", " ", block.text).splitlines() if block.language in ("", "bash") else ():
            found += [(block.page, inner) for inner in _NESTED.findall(line)]
            start = re.search(r"(?:^|\s)(pact [a-z].*)", _NESTED.sub("X", line.split("  #")[0]))
            if start:
                found.append((block.page, start[1]))
    for page in WRITTEN:
        for text in _INLINE.findall(prose(page)):
            if re.match(r"pact [a-z-]+", text):
                found.append((page.name, " ".join(text.split())))
    return found


def problem(line: str, tree: dict[str, click.Command]) -> str | None:
    """What is wrong with a command line, or None."""
    words = shlex.split(line.replace("'", "").replace('"', ""), comments=True)
    path = " ".join(words[:2])
    command = tree.get(path)
    if command is None:
        return f"no command {path}"
    rest = words[2:]
    if isinstance(command, click.Group) and rest and re.fullmatch(r"[a-z-]+", rest[0]):
        command = tree.get(f"{path} {rest[0]}")
    if command is None:
        return f"no command {path} {rest[0]}"
    if command.context_settings.get("ignore_unknown_options"):
        return None
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    unknown = [word for word in rest if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known]
    return f"{command.name} has no {', '.join(unknown)}" if unknown else None


def test_every_pact_command_exists_with_its_options(tree):
    lines = written_commands()
    assert len(lines) > 60
    assert [(page, line, problem(line, tree)) for page, line in lines if problem(line, tree)] == []


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.MULTILINE))
    text = [(block.page, block.text) for block in blocks() if not block.language]
    text += [(page.name, f"    {inline}") for page in WRITTEN for inline in _INLINE.findall(prose(page))]
    asked = {(page, name) for page, code in text for name in re.findall(r"^ *make ([a-z-]+)", code, re.MULTILINE)}
    assert len(asked) > 15
    assert {(page, name) for page, name in asked if name not in targets} == set()


def test_every_file_that_a_command_names_exists():
    missing = []
    for block in blocks():
        for place in re.findall(r"\b((?:examples|benchmarks|requirements)/[\w./-]+\.\w+)", block.text):
            if not (ROOT / place).exists():
                missing.append((block.page, place))
    assert missing == []


def test_every_yaml_is_one_and_its_pact_block_is_valid():
    found = [block for block in blocks() if block.language == "yaml"]
    assert len(found) > 5
    for block in found:
        if block.page in ("docs/hooks.md", "docs/first_plugin.md"):
            continue  # of plugins: tests/test_plugins.py and tests/new_plugin/test_using.py use these
        settings = yaml.safe_load(re.sub(r"^\.\.\..*$", "", block.text, flags=re.MULTILINE))
        mapping = settings.get("pact", settings if block.page.endswith("reference.md") else {})
        PACTConfig.from_mapping(mapping, source=block.page)
