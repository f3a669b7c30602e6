"""The command as a user runs it."""

from __future__ import annotations

import sys

import pytest

from pact_plugins.cli import main


@pytest.fixture
def pact(monkeypatch, capsys):
    """Run the command as its entry point does; exit status, standard output, standard error."""

    def run(*arguments):
        capsys.readouterr()  # progress bars of the fixtures
        monkeypatch.setattr(sys, "argv", ["pact", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
