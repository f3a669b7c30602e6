"""``pact eval --endpoint`` against llama.cpp's own server, in the environment that has it."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from pact_evals.endpoint import EndpointError
from pact_evals.runs.evaluating import EvaluationSettings, evaluate_models
from pact_evals.runs.models import read_specs
from pact_evals.runs.served import read_served
from pact_lab import tiny_world
from tests.engines import launching
from tests.helpers.gguf_files import write_gguf
from tests.helpers.trainers import python_path

pytestmark = [pytest.mark.framework, pytest.mark.matrix]
TASKS = ("pact_tiny_harmful", "pact_tiny_benign")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A GGUF file of the toy benchmark's aligned model, and the address where it is served."""
    file = write_gguf(Path(tiny_world.aligned_path()), tmp_path_factory.mktemp("gguf") / "tiny.gguf")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [launching.engines_python(), Path(__file__).with_name("llama_server.py"), file, port]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([str(part) for part in command], env=python_path(), **pipes) as process:
        address = process.stdout.readline().strip()
        assert address.startswith("http"), "the server did not start"
        yield file, f"{address}/v1"
        process.stdin.close()


def test_the_figures_are_those_of_the_model_on_the_disk(server, tmp_path):
    file, url = server
    settings = EvaluationSettings(TASKS, device="cpu", limit=10, batch_size=1)
    served = read_served([f"served={file}"], url, {}, concurrency=2)
    outcomes = evaluate_models([*read_specs([f"disk={tiny_world.aligned_path()}"]), *served], tmp_path, settings)
    disk, there = (outcome.result for outcome in outcomes)
    assert there.tasks == disk.tasks
    sampled = EvaluationSettings(("pact_tiny_harmful_sampled",), limit=10, batch_size=1)
    (outcome,) = evaluate_models(served, tmp_path, sampled)
    assert len({sample.response for sample in outcome.result.tasks["pact_tiny_harmful_sampled"].samples}) > 3


def test_what_it_does_not_give_is_named(server, tmp_path):
    file, url = server
    specs = read_served([str(file)], url, {"tokenizer": str(tiny_world.aligned_path())})
    with pytest.raises(EndpointError, match="this server does not echo those of a prompt"):
        evaluate_models(specs, tmp_path, EvaluationSettings(("pact_refusal_margin",), limit=2))
