"""Bars in a file are lines, ours are not glued to them, and Ctrl-C is one line."""

from __future__ import annotations

import io
import logging
import subprocess
import sys

import click
import pytest
from tqdm import tqdm

from pact_plugins import messages
from pact_plugins.cli import cli
from pact_plugins.cli.interruption import keeping
from pact_plugins.cli.streams import PlainStream
from tests.helpers.trainers import python_path

FORMAT = {"bar_format": "{l_bar} {n_fmt} of {total_fmt}", "mininterval": 0, "ascii": True}


def test_each_state_of_a_bar_is_a_line():
    written = io.StringIO()
    plain = PlainStream(written)
    plain.write("before")
    plain.flush()
    for _ in tqdm(range(2), file=plain, desc="rows", **FORMAT):
        pass
    plain.write("after\n\nthe end\n")
    assert written.getvalue() == (
        "before\nrows:   0%| 0 of 2\nrows:  50%| 1 of 2\nrows: 100%| 2 of 2\nafter\n\nthe end\n"
    )


def test_a_bar_that_disappears_leaves_no_blank_line():
    written = io.StringIO()
    plain = PlainStream(written)
    with tqdm(total=1, file=plain, leave=False, **FORMAT) as bar:
        bar.update()
    plain.write("PACT: a line\n")
    assert written.getvalue() == "  0%| 0 of 1\n100%| 1 of 1\nPACT: a line\n"


def test_in_a_file_a_long_bar_is_some_lines_and_a_short_one_none():
    """As tqdm reads its settings: when it is imported, which is after the command has begun."""
    script = (
        "import time\n"
        "from pact_plugins.cli.streams import plain_where_nobody_watches\n"
        "with plain_where_nobody_watches():\n"
        "    from tqdm import tqdm\n"
        "    for _ in tqdm(range(3), desc='short'): pass\n"
        "    for _ in tqdm(range(4), desc='long'): time.sleep(0.8)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**python_path(), "TQDM_MININTERVAL": "0.1"},  # what the user has set stays
        check=False,
    )
    lines = finished.stderr.splitlines()
    assert [line.partition(" [")[0] for line in lines] == ["long:  75%| 3 of 4", "long: 100%| 4 of 4"]


def test_our_lines_are_not_glued_to_a_foreign_bar(monkeypatch):
    """In a terminal as in a file: the bar's line ends first."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    monkeypatch.setattr(messages.logger, "handlers", [handler])
    monkeypatch.setattr(messages.logger, "level", logging.INFO)
    messages.logger._cache.clear()
    with tqdm(total=4, file=written, **FORMAT) as bar:
        bar.update(4)
        messages.announce("4 optimizer steps")
    lines = written.getvalue().replace("\r", "\n").split("\n")
    assert "PACT: 4 optimizer steps" in lines


def test_ctrl_c_is_one_line_that_says_what_is_kept(pact, monkeypatch):
    @click.command()
    def stopped() -> None:
        with keeping("Two cells are kept."):
            raise KeyboardInterrupt

    monkeypatch.setitem(cli.commands, "stopped", stopped)
    assert pact("stopped") == (130, "", "Interrupted. Two cells are kept.\n")


@pytest.mark.parametrize("module", ["pluggy", "pact_plugins.cli.options"])
def test_ctrl_c_during_start_up(module):
    """While the plugins are imported: a signal that arrives then."""
    script = (
        "import os, signal, sys\n"
        # A shell's background job has it ignored, and so have its children.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pact_plugins.cli import main\n"
        "class Signal:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Signal())\n"
        "sys.argv = ['pact', 'plugins']\n"
        "main()\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=python_path(), check=False
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (130, "", "Interrupted.\n")
