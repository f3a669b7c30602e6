"""`pact enable`, `disable` and `doctor` in a virtual environment made for the test, and the start of its Python."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import click
import pytest

from pact_plugins.activation import line
from pact_plugins.activation.targets import registered_targets
from pact_plugins.cli import activation
from pact_plugins.default_plugins import commands
from pact_plugins.errors import ActivationError
from tests.helpers.environments import Environment
from tests.helpers.packages import documented_example, write_installed


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment") / "venv")


@pytest.fixture
def enabled(environment: Environment) -> Environment:
    line.write(registered_targets(), environment.site)
    return environment


def test_the_commands_are_on_the_command_line() -> None:
    group = click.Group()
    commands.register_commands(group)
    assert {"enable", "disable", "doctor"} <= set(group.commands)


def test_enable_doctor_disable(environment: Environment) -> None:
    before = environment.files()
    assert not environment.has_hook()
    doctor = environment.pact("doctor")
    assert "enabled   no; short names in the stock commands need: pact enable" in doctor.stdout, doctor.stderr

    first = environment.pact("enable")
    file = environment.site / line.FILE_NAME
    assert first.stdout == f"enabled: {file}\n", first.stderr
    written = file.read_bytes(), file.stat().st_mtime_ns
    assert written[0].count(b"\n") == 1
    assert environment.files() == before | {line.FILE_NAME}
    assert environment.has_hook()

    second = environment.pact("enable")
    assert second.stdout == f"already enabled: {file}\n"
    assert (file.read_bytes(), file.stat().st_mtime_ns) == written

    doctor = environment.pact("doctor")
    assert doctor.returncode == 0
    assert f"enabled   {file}" in doctor.stdout
    assert "the hook is installed" in doctor.stdout
    assert all(f" {module} " in doctor.stdout for module in ("axolotl.cli.config", "llamafactory.train.tuner"))

    assert environment.pact("disable").stdout == f"disabled: removed {file}\n"
    assert environment.files() == before
    assert environment.pact("disable").stdout == "was not enabled\n"
    assert not environment.has_hook()


def test_pact_disable_keeps_the_hook_out(enabled: Environment) -> None:
    assert enabled.has_hook()
    assert not enabled.has_hook(PACT_DISABLE="1")


def test_python_starts_as_ever_when_the_package_is_gone(enabled: Environment) -> None:
    text = enabled.editable.read_text()
    enabled.editable.write_text("")
    try:
        assert not enabled.has_hook()
    finally:
        enabled.editable.write_text(text)


@pytest.mark.parametrize(
    "left",
    ["", "raise ValueError('half an upgrade')\n", "this is no Python\n", "def install():\n    'of another version'\n"],
    ids=["empty", "raises", "no syntax", "another version"],
)
def test_python_starts_as_ever_when_the_package_is_broken(enabled: Environment, tmp_path: Path, left: str) -> None:
    package = tmp_path / "pact_plugins" / "activation"
    package.mkdir(parents=True)
    (package / "hook.py").write_text(left)
    text = enabled.editable.read_text()
    enabled.editable.write_text(f"{tmp_path}\n")
    try:
        assert not enabled.has_hook()
    finally:
        enabled.editable.write_text(text)


def test_starting_imports_four_small_modules_and_is_cheaper_than_json(environment: Environment) -> None:
    (environment.site / line.FILE_NAME).unlink(missing_ok=True)
    program = f"""
import sys, time
targets = {registered_targets()!r}
start = time.perf_counter()
import json
before, middle = set(sys.modules), time.perf_counter()
from pact_plugins.activation import hook
hook.install(targets)
print((time.perf_counter() - middle) / (middle - start), *sorted(set(sys.modules) - before))
"""
    runs = [environment.run("-c", program).stdout.split() for _ in range(12)]
    assert runs[0][1:] == ["__future__", "pact_plugins", "pact_plugins.activation", "pact_plugins.activation.hook"]
    # A ratio, as machines differ, and of the best run, as the others measure what else the machine does.
    assert min(float(run[0]) for run in runs) < 0.5


def _without_privileges(command: click.Command, folder: Path, answer: Connection) -> None:
    if os.geteuid() == 0:
        os.setuid(65534)
    line.target_folder = lambda: folder  # type: ignore[assignment]
    line.site_folders = lambda: [folder]  # type: ignore[assignment]
    try:
        command.main(args=[], standalone_mode=False)
    except ActivationError as error:
        answer.send(str(error))


def _refused(command: click.Command, folder: Path) -> str:
    """What ``command`` says where ``folder`` is site-packages and is not writable."""
    folder.chmod(0o555)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_without_privileges, args=(command, folder, sender))
    process.start()
    process.join(timeout=30)
    folder.chmod(0o755)
    assert process.exitcode == 0
    assert receiver.poll()
    return str(receiver.recv())


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Readable for everybody, which pytest's own temporary folders are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_enable_names_a_folder_that_is_not_writable(public_folder: Path) -> None:
    answer = _refused(activation.enable, public_folder)
    assert answer.startswith(f"{public_folder} is not writable (Permission denied)")
    assert "plugins: [pact_axolotl.PACTPlugin]" in answer
    assert list(public_folder.iterdir()) == []


def test_disable_names_a_file_that_cannot_be_removed(public_folder: Path) -> None:
    file, _ = line.write({}, public_folder)
    assert _refused(activation.disable, public_folder) == f"{file} cannot be removed (Permission denied)"
    assert file.read_text() == line.line({})


def test_the_line_sorts_after_the_file_of_an_editable_installation() -> None:
    assert sorted([line.FILE_NAME, "_editable_impl_pact_plugins.pth", "__editable__.pact_plugins.pth"])[-1] == (
        line.FILE_NAME
    )


def test_a_short_name_of_a_strangers_plugin(tmp_path: Path) -> None:
    """The example of docs/hooks.md, with a framework of one function."""
    environment = Environment(tmp_path / "venv")
    write_installed(environment.site, documented_example("register_short_names"))
    framework = environment.site / "small_framework"
    framework.mkdir()
    (framework / "__init__.py").touch()
    (framework / "training.py").write_text("def train(config):\n    return 'trained'\n")
    program = "from small_framework import training; print(training.train({'pact': True}))"
    assert environment.run("-c", program).stdout == "trained\n"
    assert environment.pact("enable").returncode == 0
    assert environment.run("-c", program).stdout == "trained, with PACT\n"
    assert "small-framework" in environment.pact("doctor").stdout
