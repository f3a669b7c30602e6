"""A model behind an endpoint gives the figures of the model on the disk, and what cannot work says so at once."""

from __future__ import annotations

import time

import click
import pytest
from click.testing import CliRunner

from pact_evals.commands import COMMANDS
from pact_evals.endpoint import EndpointError
from pact_evals.runs.models import read_specs
from pact_evals.runs.served import read_served
from pact_evals.runs.store import load_run
from pact_plugins.errors import ConfigurationError
from tests.helpers.serving import NAME, Served, serving

GREEDY, SAMPLED, LIKELIHOODS = "pact_refusal", "pact_refusal_sampled", "pact_refusal_margin"
KEY = "a-secret-of-the-test"


@pytest.fixture(scope="module")
def served(model_path):
    return Served(model_path)


@pytest.fixture
def url(served):
    served.asked.clear()
    served.key, served.echoes = None, True
    with serving(served) as address:
        yield address


def evaluate(*arguments, tasks, run, limit=3):
    group = click.Group()
    for command in COMMANDS:
        group.add_command(command)
    given = [str(argument) for argument in arguments]
    options = ["--tasks", tasks, "-o", str(run), "--limit", str(limit), "--max-new-tokens", "12"]
    return CliRunner().invoke(group, ["eval", *given, *options])


def test_the_figures_are_those_of_the_model_on_the_disk(model_path, url, served, tmp_path):
    run = tmp_path / "run"
    on_disk = evaluate(f"disk={model_path}", "--device", "cpu", "--batch-size", 1, tasks=GREEDY, run=run)
    at_endpoint = evaluate(f"served={NAME}", "--endpoint", url, tasks=f"{GREEDY},{SAMPLED}", run=run)
    assert (on_disk.exit_code, at_endpoint.exit_code) == (0, 0), (on_disk.output, at_endpoint.output)
    disk, there = load_run(run)
    assert there.tasks[GREEDY] == disk.tasks[GREEDY]
    assert any(sample.response for sample in there.tasks[GREEDY].samples)
    # Some servers (transformers serve) fail over an empty list.
    assert not any("stop" in body for _, _, body in served.asked)
    sampled = [body for route, _, body in served.asked if body.get("temperature") == 1.0 and "chat" in route]
    assert {(body["top_k"], body["top_p"]) for body in sampled} == {(0, 1.0)}
    # As it lies there already, nothing is asked again but whether somebody is there.
    served.asked.clear()
    again = evaluate(f"served={NAME}", "--endpoint", url, tasks=GREEDY, run=run)
    assert "served: already there" in again.output


def test_log_likelihoods_where_the_server_echoes_them(model_path, url, served, tmp_path):
    run = tmp_path / "run"
    tasks = f"{LIKELIHOODS},{GREEDY}"
    evaluate(f"disk={model_path}", "--device", "cpu", "--batch-size", 1, tasks=tasks, run=run)
    arguments = (NAME, "--endpoint", url, "--model-args", f"tokenizer={model_path}")
    done = evaluate(*arguments, tasks=tasks, run=run)
    assert done.exit_code == 0, done.output
    disk, there = load_run(run)
    assert there.tasks[GREEDY] == disk.tasks[GREEDY]
    margin, of_disk = (model.tasks[LIKELIHOODS].metrics["margin"].value for model in (there, disk))
    assert margin == pytest.approx(of_disk, abs=1e-4)

    served.echoes = False
    refused = evaluate(*arguments, tasks=LIKELIHOODS, run=tmp_path / "other")
    assert isinstance(refused.exception, EndpointError)
    assert f"{NAME}: {LIKELIHOODS}: it needs log-likelihoods, and this server does not echo" in str(refused.exception)
    assert not (tmp_path / "other").exists()


def test_what_a_chat_endpoint_cannot_do_is_said_before_the_rest_runs(url, served, tmp_path):
    done = evaluate(NAME, "--endpoint", url, tasks=f"{GREEDY},{LIKELIHOODS}", run=tmp_path / "run")
    assert isinstance(done.exception, ConfigurationError)
    assert f"{LIKELIHOODS} needs log-likelihoods, which no chat endpoint gives" in str(done.exception)
    assert len([route for route, _, _ in served.asked if "completions" in route]) <= 1
    assert not (tmp_path / "run").exists()


def test_a_key_comes_from_the_environment_and_stays_there(url, served, tmp_path, monkeypatch, caplog):
    served.key = KEY
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    refused = evaluate(NAME, "--endpoint", url, tasks=GREEDY, run=tmp_path / "run")
    assert "the key in OPENAI_API_KEY is refused (HTTP 401)" in str(refused.exception)
    assert "another" not in str(refused.exception)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    done = evaluate(NAME, "--endpoint", url, tasks=GREEDY, run=tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert load_run(tmp_path / "run")[0].tasks[GREEDY].samples
    written = [file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()]
    assert KEY.encode() not in b"".join(written)
    assert KEY not in caplog.text + done.output


def test_a_name_that_the_server_does_not_know(url, tmp_path):
    done = evaluate("other", "--endpoint", url, tasks=GREEDY, run=tmp_path / "run")
    assert isinstance(done.exception, EndpointError)
    assert "HTTP 404" in str(done.exception)
    assert "The model `other` does not exist" in str(done.exception)


def test_nobody_there_is_one_line_within_seconds(tmp_path):
    began = time.monotonic()
    with pytest.raises(EndpointError, match=r"^no answer from http://127\.0\.0\.1:9/v1 \(.*refused.*\); is the server"):
        read_served([NAME], "http://127.0.0.1:9/v1", {})
    assert time.monotonic() - began < 5


def test_what_cannot_be_meant_is_named(url):
    for endpoint, arguments, options, message in (
        ("127.0.0.1:8080", {}, {}, "is no address such as"),
        ("http://me:secret@127.0.0.1/v1", {}, {}, "would be stored"),
        (url, {"header": "x"}, {}, "header would be stored"),
        (url, {}, {"apply_chat_template": False}, "needs --model-args tokenizer"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            read_served([NAME], endpoint, arguments, **options)
    with pytest.raises(ConfigurationError, match="two models are called 'tiny'"):
        read_served(["tiny", "org/tiny"], url, {})


def test_labels_and_names(url):
    specs = read_served(["q4=smollm2:135m", "/models/a.gguf", "gpt=4=x"], f"{url}/chat/completions", {})
    assert [(spec.label, spec.model) for spec in specs] == [
        ("q4", "smollm2:135m"),
        ("a.gguf", "/models/a.gguf"),
        ("gpt", "4=x"),
    ]
    assert specs[0].arguments["base_url"] == f"{url}/chat/completions"


def test_another_model_under_the_same_name_is_another_model(url, served, monkeypatch):
    (spec,) = read_served([NAME], url, {})
    assert read_served([NAME], url, {})[0].identity() == spec.identity()
    other = {"data": [{"id": NAME, "created": 2, "meta": {"n_params": 2}}]}
    monkeypatch.setattr(served, "answer", lambda route, body: (200, other))
    assert read_served([NAME], url, {})[0].identity() != spec.identity()
    assert read_specs(["org/tiny"])[0].identity()["weights"] != spec.identity()["weights"]
