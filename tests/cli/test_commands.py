"""The ``pact`` command: calibrate, inspect, plugins, train; expected errors are one line and exit status 2."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from pact_plugins import SafetyTokens, plugins
from tests.helpers.packages import documented_example, write_installed
from tests.helpers.tiny import save_model, tiny_llama, tiny_tokenizer


def one_line_error(result, *words):
    status, out, err = result
    assert status == 2
    # Before it there may be transformers' own progress bars.
    message = err[err.index("Error: ") :]
    assert len(message.strip().splitlines()) == 1
    assert "Traceback" not in out + err
    for word in words:
        assert word in message
    return True


@pytest.fixture
def aligned(tmp_path):
    return save_model(tmp_path / "aligned", tiny_llama())


def test_calibrate(pact, tmp_path, aligned, refusals_path):
    out = tmp_path / "new" / "tokens.safetensors"
    status, printed, _ = pact("calibrate", aligned, "--refusals", refusals_path, "--top-k", "20", "-o", out)
    assert status == 0
    tokens = SafetyTokens.load(out, tokenizer=tiny_tokenizer())
    assert len(tokens) == 20
    assert tokens.settings["contrast"] == "prompt-free"
    assert "20 safety tokens" in printed
    assert tokens.fingerprint in printed


def test_calibrate_against_a_base(pact, tmp_path, aligned, refusals_path):
    base = save_model(tmp_path / "base", tiny_llama(1))
    out = tmp_path / "tokens.safetensors"
    status, _, _ = pact(
        "calibrate", aligned, "--base", base, "--refusals", refusals_path, "--scorer", "pref_logratio", "-o", out
    )
    assert status == 0
    settings = SafetyTokens.load(out).settings
    assert settings["contrast"] == base
    assert settings["scorer"] == "pref_logratio"
    assert settings["model"] == aligned


def test_calibrate_errors(pact, tmp_path, aligned, refusals_path):
    out = tmp_path / "tokens.safetensors"
    nowhere = tmp_path / "nowhere"
    assert one_line_error(pact("calibrate", nowhere, "-o", out), "MODEL", "nowhere", "cannot be loaded")
    assert one_line_error(pact("calibrate", "runs/nowhere", "-o", out), "MODEL: runs/nowhere", "no such folder", "hub")
    assert one_line_error(
        pact("calibrate", aligned, "--refusals", nowhere, "-o", out), "refusals_path", "no such file", "nowhere"
    )
    assert one_line_error(
        pact("calibrate", aligned, "--refusals", refusals_path, "--base", nowhere, "-o", out), "base_model_path"
    )
    assert one_line_error(
        pact("calibrate", aligned, "--refusals", refusals_path, "--top-k", "0", "-o", out),
        "options.safety_tokens.top_k",
        "found 0",
    )
    assert one_line_error(pact("calibrate", aligned, "--refusals", refusals_path, "--scorer", "x", "-o", out), "p_diff")
    assert one_line_error(
        pact("calibrate", aligned, "--refusals", refusals_path, "--dtype", "nonsense", "-o", out), "nonsense"
    )
    assert one_line_error(
        pact("calibrate", aligned, "--refusals", refusals_path, "--device", "nonsense", "-o", out), "nonsense"
    )
    assert not out.exists()


@pytest.mark.parametrize("option", ["--prompts", "--harmless-prompts", "--refusals"])
def test_calibrate_reads_its_files_before_it_loads_the_model(pact, tmp_path, aligned, monkeypatch, option):
    monkeypatch.setattr("pact_plugins.cli.loading.load_model", lambda *_, **__: pytest.fail("the model was loaded"))
    file = tmp_path / "broken.json"
    file.write_text('["a request",', encoding="utf-8")
    given = pact("calibrate", aligned, option, file, "-o", tmp_path / "tokens.safetensors")
    assert one_line_error(given, "_path", "broken.json", "JSON")


def test_calibrate_without_a_chat_template(pact, tmp_path, refusals_path):
    model = save_model(tmp_path / "model", tiny_llama(), tiny_tokenizer(None))
    out = tmp_path / "tokens.safetensors"
    assert one_line_error(pact("calibrate", model, "--refusals", refusals_path, "-o", out), "no chat template")


def test_inspect_prints_every_token(pact, tmp_path, safety_tokens):
    file = safety_tokens.save(tmp_path / "tokens.safetensors")
    status, out, _ = pact("inspect", file)
    assert status == 0
    for token_id in safety_tokens.token_ids.tolist():
        assert str(token_id) in out
    assert safety_tokens.fingerprint in out
    assert safety_tokens.tokenizer_fingerprint in out
    assert "scorer: by hand" in out
    order = [out.index(f"{value:+.4f}") for value in safety_tokens.direction.sort(descending=True).values.tolist()]
    assert order == sorted(order)


def test_inspect_shows_the_opening_tokens_as_words(pact, tmp_path, safety_tokens):
    opening_tokens = {
        "refusal_opening_tokens": [40, 41],
        "refusal_opening_token_strings": ["I", "ĠSorry"],
        "compliance_opening_tokens": [],
        "compliance_opening_token_strings": [],
    }
    tokens = replace(safety_tokens, settings={"scorer": "by hand", **opening_tokens})
    status, out, _ = pact("inspect", tokens.save(tmp_path / "tokens.safetensors"))
    assert status == 0
    assert "refusal opening tokens: I (40), ␣Sorry (41)" in out
    assert "compliance opening tokens: none" in out
    assert "opening_token_strings" not in out


def test_inspect_draws_a_chart(pact, tmp_path, safety_tokens):
    file = safety_tokens.save(tmp_path / "tokens.safetensors")
    status, out, _ = pact("inspect", file, "--chart", tmp_path / "charts" / "chart.png")
    assert status == 0
    image = (tmp_path / "charts" / "chart.png").read_bytes()
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(image) > 5000
    assert "chart.png" in out.replace("\n", "")


def test_tokens_of_brackets_and_dollars_are_shown_as_they_are(pact, tmp_path):
    """Neither rich's markup nor matplotlib's formulas may swallow a token."""
    from tests.helpers.tiny import tiny_safety_tokens

    tokens = tiny_safety_tokens()
    strings = ["[red]", "[/red]", "$x$", "\\", "Ġ[b", "_", "^", "{", "#", "&", "%", "~"]
    object.__setattr__(tokens, "token_strings", tuple(strings))
    file = tokens.save(tmp_path / "tokens.safetensors")
    status, out, _ = pact("inspect", file, "--chart", tmp_path / "chart.png")
    assert status == 0
    for string in strings:
        assert string.replace("Ġ", "␣") in out


def test_inspect_finds_the_tokens_in_a_runs_folder(pact, tmp_path, safety_tokens):
    safety_tokens.save(tmp_path / "out" / "pact_safety_tokens.safetensors")
    status, out, _ = pact("inspect", tmp_path / "out", "--json")
    assert status == 0
    assert json.loads(out)["fingerprint"] == safety_tokens.fingerprint
    assert one_line_error(pact("inspect", tmp_path), "is a folder without", "there are some in", "out")


def test_verify_takes_the_record_and_names_a_folder_that_has_one(pact, tmp_path):
    (tmp_path / "out" / "checkpoint-2").mkdir(parents=True)
    (tmp_path / "out" / "pact.json").write_text("{}")
    status, by_record, _ = pact("verify", tmp_path / "out" / "pact.json")
    assert (status, by_record) == pact("verify", tmp_path / "out")[:2]
    for folder in (tmp_path / "out" / "checkpoint-2", tmp_path):
        status, out, _ = pact("verify", folder)
        assert status == 1
        assert f"There is one in {tmp_path / 'out'}: give that folder" in out
    assert one_line_error(pact("verify", tmp_path / "outs"), "OUTPUT_DIR", "no such folder (did you mean", "out")


def test_inspect_errors(pact, tmp_path):
    assert one_line_error(pact("inspect", tmp_path / "nowhere.safetensors"), "no such file", "nowhere")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"damaged")
    assert one_line_error(pact("inspect", damaged, "--chart", tmp_path / "chart.png"), "damaged.safetensors")
    assert not (tmp_path / "chart.png").exists()


def test_plugins_lists_what_is_loaded(pact, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.syspath_prepend(str(write_installed(tmp_path, documented_example("register_objectives"))))
    plugins.get_plugin_manager.cache_clear()
    try:
        status, out, _ = pact("plugins")
    finally:
        plugins.get_plugin_manager.cache_clear()
        sys.modules.pop("stranger", None)
    assert status == 0
    line = next(line for line in out.splitlines() if "stranger" in line)
    assert "1.2.3" in line
    assert "register_objectives" in line
    assert "built in" in out


def test_a_broken_plugin_is_one_line(pact, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(write_installed(tmp_path, "1 / 0", name="broken_package")))
    plugins.get_plugin_manager.cache_clear()
    try:
        assert one_line_error(pact("plugins"), "broken_package", "division by zero")
    finally:
        plugins.get_plugin_manager.cache_clear()


def test_train_with_an_unknown_framework(pact):
    assert one_line_error(pact("train", "nonsense", "config.yaml"), "unknown framework 'nonsense'; available:")


@pytest.mark.parametrize("arguments", [("train",), ("train", "--help"), ("train", "-h")])
def test_train_help(pact, arguments):
    status, out, _ = pact(*arguments)
    assert status == 0
    assert "pact train FRAMEWORK" in out


def test_help_and_version(pact):
    status, out, _ = pact("--help")
    assert status == 0
    for command in ("calibrate", "inspect", "plugins", "train"):
        assert command in out
    assert pact("--version")[1].strip().endswith("0.1.0")
