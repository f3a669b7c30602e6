"""LlamaBoard as a person uses it: the stage chosen in the menu, its options filled in, a run started and finished."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import yaml

from pact_lab import tiny_world
from pact_llamafactory.llamaboard import MENU_ENTRY
from tests.llamafactory import commands
from tests.llamafactory.browser import Page, needs_chromium, opened

pytestmark = [pytest.mark.framework, pytest.mark.matrix]


@contextmanager
def served(command: list[str], folder: Path, world: Path, *, programs: Path = commands.BIN) -> Iterator[str]:
    """LlamaBoard started by ``command`` in a folder of its own; yields its address."""
    shutil.copytree(world / "data", folder / "data")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PATH": commands.search_path(programs),
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        # The page would otherwise open in whatever browser this machine calls its own.
        "BROWSER": shutil.which("true") or "true",
    }
    address = f"http://127.0.0.1:{port}"
    with (folder / "board.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_for(address, server, folder / "board.log")
            yield address
        finally:
            server.terminate()
            server.wait(timeout=30)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urlopen(address, timeout=5).close()
            return
        except (URLError, TimeoutError, ConnectionError):
            time.sleep(0.5)
    pytest.fail(f"LlamaBoard did not start: {log.read_text()[-2000:]}")


@needs_chromium
def test_a_run_from_the_page(world: Path, tmp_path: Path) -> None:
    more = {
        "reference": {"cache_path": str(tmp_path / "cache")},
        "safety_tokens": {"refusals_path": "data/refusals.json"},
    }
    extra: dict[str, Any] = {"optim": "adamw_torch", "template": None, "bf16": False, "max_steps": 2}
    extra |= {"preprocessing_num_workers": 1, "save_strategy": "no", "logging_steps": 1}
    command = ["pact", "llamafactory", "webui"]
    with served(command, tmp_path, world) as address, opened(address, tmp_path / "profile") as page:
        _choose_model(page)
        assert not page.shows("term.weight")
        assert page.menu("Stage")[-1] == MENU_ENTRY
        page.choose("Stage", MENU_ENTRY)
        page.choose("anchor", "bundled")
        page.fill("term.weight", "1.5")
        page.fill("further keys of pact: as JSON", json.dumps(more))
        _choose_data(page)
        page.press("Extra configurations")
        page.fill("Extra arguments", json.dumps(extra))
        page.press("Start")
        page.wait(lambda _: "Finished." in page.text(), "the run does not finish", timeout=240)
        assert "PACT" in page.text()
        picture = Path(os.environ.get("PACT_SCREENSHOT", tmp_path / "llamaboard.png"))
        page.screenshot(picture, around="term.weight")
        assert picture.stat().st_size > 10_000
    (output,) = (tmp_path / "saves/Custom/lora").iterdir()
    record = json.loads((output / "pact.json").read_text())
    assert record["optimizer_steps_protected"] == 2
    assert record["config"]["term"]["weight"] == 1.5
    assert record["config"]["anchor"] == "bundled"
    assert record["config"]["refusals_path"] == "data/refusals.json"
    assert yaml.safe_load((output / "training_args.yaml").read_text())["stage"] == "pact"


@needs_chromium
def test_a_mistake_is_shown_on_the_page_of_the_stock_command(world: Path, tmp_path: Path) -> None:
    programs = commands.enabled_environment(tmp_path / "venv")
    command = ["llamafactory-cli", "webui"]
    with (
        served(command, tmp_path, world, programs=programs) as address,
        opened(address, tmp_path / "profile") as page,
    ):
        _choose_model(page)
        page.choose("Stage", MENU_ENTRY)
        page.fill("term.weight", "much")
        _choose_data(page)
        page.press("Preview command")
        page.wait(lambda _: "pact.term.weight" in page.text(), "the mistake is not shown")


def _choose_model(page: Page) -> None:
    page.choose("Model name", "Custom")
    page.fill("Model path", str(tiny_world.aligned_path()))


def _choose_data(page: Page) -> None:
    page.fill("Data dir", "data")
    page.choose("Dataset", "rows")
