"""Commands that only read files import nothing heavy: they answer in a second or two."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers.evaluated import labels, model, write
from tests.helpers.trainers import python_path

HEAVY = ("torch", "transformers", "datasets", "lm_eval", "peft", "accelerate", "trl")
PROGRAM = f"""
import sys
from click.testing import CliRunner
from pact_plugins import plugins
from pact_plugins.cli.main import cli
plugins.get_plugin_manager().hook.register_commands(cli=cli)
done = CliRunner().invoke(cli, sys.argv[1:])
print(done.exit_code, [name for name in {HEAVY} if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("check RUN", 0),
        ("report RUN -o RUN/report.html --bootstrap 100", 0),
        ("judge RUN --judge keyword", 0),
        ("check nowhere", 3),
        ("judge --help", 0),
        ("report --help", 0),
        ("eval --help", 0),
        ("card --help", 0),
    ],
)
def test_what_only_reads_files_imports_nothing_heavy(tmp_path, command, status):
    write(
        tmp_path, *(model(label, labels(200, compliance=2), labels(200, refusal=2)) for label in ("aligned", "tuned"))
    )
    arguments = command.replace("RUN", str(tmp_path)).split()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, env=python_path(), check=True
    )
    assert done.stdout.splitlines()[-1] == f"{status} []", done.stdout + done.stderr
