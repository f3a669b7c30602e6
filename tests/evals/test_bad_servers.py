"""A server that answers wrongly, slowly, or from elsewhere ends nothing in a traceback and loses nothing."""

from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner

from pact_evals.commands import COMMANDS
from pact_evals.endpoint import ChatEndpoint, EndpointError, models_at
from pact_evals.runs.store import load_run
from tests.helpers.bad_server import BROKEN, answering, completion, dripping
from tests.helpers.evaluated import labels, model, write

GRADES = "1.a x\n1.b 1\n2.a x\n2.b 1\n3.a x\n3.b 1"


def pact(name, *arguments):
    (command,) = (one for one in COMMANDS if one.name == name)
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_answer_is_one_line(kind):
    with answering(lambda _request: BROKEN[kind]) as url, pytest.raises(EndpointError) as caught:
        ChatEndpoint(url, "m", timeout=2, attempts=2, pause=0).ask("s", "u", max_tokens=1)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{url}: ")


@pytest.mark.parametrize("kind", BROKEN)
def test_judged_rows_are_kept_and_a_second_run_goes_on(tmp_path, kind):
    run = write(tmp_path, model("m", labels(40, refusal=40), labels(2)))
    asked = []

    def answer(request):
        if b"/models" in request:
            return completion("")
        asked.append(request)
        return completion(GRADES) if len(asked) <= 35 or len(asked) > 1000 else BROKEN[kind]

    with answering(answer) as url:
        settings = json.dumps({"timeout": 2, "attempts": 1, "pause": 0, "concurrency": 1})
        command = ("judge", run, "--judge", "strongreject", "--judge-url", url, "--judge-model", "m")
        first = pact(*command, "--judge-settings", settings)
        assert first.exception is None or "rows are judged and kept" in str(first.exception), first.output
        asked.extend([b""] * 1000)
        before = len(asked)
        second = pact(*command, "--judge-settings", settings)
    assert second.exit_code == 0, second.output
    assert "0 rows unscored" in second.output
    assert len(asked) - before <= 5 + 2
    assert load_run(run)[0].tasks["pact_refusal"].judge["name"] == "strongreject"


def test_bytes_that_drip_do_not_hang():
    with answering(dripping) as url:
        began = time.monotonic()
        with pytest.raises(EndpointError, match="TimeoutError"):
            ChatEndpoint(url, "m", timeout=1, attempts=1).ask("s", "u", max_tokens=1)
        with pytest.raises(EndpointError, match="is the server running there"):
            models_at(url, None)
        assert time.monotonic() - began < 15


@pytest.mark.parametrize("in_flight", [1, 2])
def test_answers_of_another_host_are_not_the_models(tmp_path, in_flight):
    """The first question finds the server at home; the rows are sent elsewhere."""
    elsewhere, at_home = [], []

    def stranger(request):
        elsewhere.append(request)
        return completion("I am another model.")

    with answering(stranger) as other:

        def answer(request):
            if b"/models" in request:
                return completion("")
            at_home.append(request)
            if len(at_home) == 1:
                return completion("Hello.")
            return f"HTTP/1.1 307 Moved\r\nLocation: {other}/chat/completions\r\nContent-Length: 0\r\n\r\n".encode()

        with answering(answer) as url:
            options = ("--tasks", "pact_refusal", "--limit", 2, "-o", tmp_path, "--batch-size", in_flight)
            done = pact("eval", "name", "--endpoint", url, "--model-args", "max_retries=1", *options)
    assert done.exit_code == 1
    assert "a redirect to" in done.output
    assert elsewhere == []
    assert not list(tmp_path.rglob("samples_*"))


@pytest.mark.parametrize(
    "argument", ["token=abc", "use_auth_token=abc", "api_key=abc", "x=hf_abcdefghij", "base_url=http://a:b@c/"]
)
def test_no_secret_is_written(tmp_path, model_path, argument):
    done = pact("eval", model_path, "--model-args", argument, "-o", tmp_path / "run", "--limit", 1)
    assert f"--model-args: {argument.partition('=')[0]} would be stored with the results; set HF_TOKEN" in str(
        done.exception
    )
    assert not (tmp_path / "run").exists()


def test_what_only_sounds_like_one_is_taken():
    from pact_evals.runs.models import read_specs

    taken = {"tokenizer": "x", "add_bos_token": True, "max_num_batched_tokens": 9, "eos_token_id": 2}
    assert read_specs(["org/m"], arguments=taken)[0].arguments == taken
