"""What models, data and files say is shown, and nothing in it is obeyed: in every output of ours."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from pact_evals.commands import check_command
from pact_evals.harness.evaluate import Metric, Sample
from pact_evals.report import write_report
from pact_evals.runs.store import ModelResult, TaskResult
from pact_plugins import messages
from pact_plugins.audit.report.page import render_page
from pact_plugins.audit.report.terminal import print_report
from pact_plugins.errors import PACTError
from pact_plugins.report.markdown import plain, table
from pact_plugins.report.terminal import print_table
from pact_plugins.safety_tokens import display
from pact_plugins.visible import shortly, visible
from tests.audit.test_report import report as audit_report
from tests.helpers.evaluated import write
from tests.helpers.tiny import tiny_safety_tokens

# One of each kind: clears the screen and sets the title, moves the cursor, turns the direction around, hides; becomes a
# heading, a link, an image, a tag or an entity; is markup of rich's, a formula, a line of its own.
INJECTED = (
    "\x1b[2J\x1b]0;title\x07\x9b5A\r\b\x7f\u202eevil\u2066\u200b\u2060\ufeff\u2028\U000e0041\ud800"
    "<script>alert(1)</script><img src=x onerror=alert(2)>&lt;[red]x[/red][link=http://x]y[/link]"
    "![a](http://x)[b](javascript:c)`d`**e**|f|$\\frac{$\n# heading\n"
)
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)


def harmless_page(text: str) -> None:
    assert not HIDDEN.search(text)
    # The page's own, which its policy pins by a hash.
    assert set(re.findall(r"<script.{13}", text)) <= {'<script>"use strict"'}
    assert "<img" not in text
    assert r"\x1b[2J" in text
    assert r"\u202eevil" in text


def test_what_is_obeyed_is_written_out():
    assert visible("plain ␣ naïve 漢字 \n\t") == "plain ␣ naïve 漢字 \n\t"
    assert visible("a\x1b[31mb\u202ec\u200bd\r\ud800") == r"a\x1b[31mb\u202ec\u200bd\r\ud800"
    assert not HIDDEN.search(visible(INJECTED))
    visible(INJECTED).encode()


def test_a_short_form_of_anything():
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, 10**6000, "x" * 10**6, {"a": deep}, b"\x1b" * 1000, INJECTED):
        assert len(shortly(value)) < 5000
        assert not HIDDEN.search(shortly(value))


def test_errors_and_lines_of_the_log(caplog):
    assert not HIDDEN.search(str(PACTError(INJECTED)))
    with caplog.at_level("INFO", logger="pact_plugins"):
        messages.announce(INJECTED)
    assert not HIDDEN.search(caplog.messages[0])


def test_markdown():
    shown = plain(INJECTED)
    assert not HIDDEN.search(shown)
    assert "\n" not in shown
    assert "<" not in shown
    for mark in ("`d`", "![a]", "[b](", "**e**"):
        assert mark not in shown
    (_, _, line) = table(["a"], [[INJECTED]]).split("\n")
    assert not HIDDEN.search(line)
    assert re.findall(r"(?<!\\)\|", line) == ["|", "|"]


@pytest.fixture
def audit():
    row = audit_report().flagged[0]
    flagged = [type(row)(**{**vars(row), "prompt": INJECTED, "response": INJECTED, "first_token": INJECTED})]
    strings = {"refusal": [INJECTED], "compliance": [INJECTED]}
    changes = {"flagged": flagged, "unreadable": {2: INJECTED}, "opening_token_strings": strings, "model": INJECTED}
    return audit_report(**changes, prompts=INJECTED, opening_tokens_from=INJECTED, formats={INJECTED: 4})


def test_the_audits_page(audit):
    harmless_page(render_page(audit, data=INJECTED))


def test_the_audit_in_the_terminal(audit, capsys):
    print_report(audit, shown=10)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)  # rich's own styles
    assert not HIDDEN.search(shown)
    assert "[red]x[/red]" in shown.replace("\n", "")


def test_the_audits_json_is_data(audit):
    assert json.loads(json.dumps(audit.as_dict()))["flagged"][0]["prompt"] == INJECTED


def test_safety_tokens_in_the_terminal(capsys):
    tokens = tiny_safety_tokens(count=2)
    object.__setattr__(tokens, "token_strings", (INJECTED, "[red]"))
    object.__setattr__(tokens, "settings", {"model": INJECTED})
    print_table(display.COLUMNS, display.rows(tokens))
    shown = capsys.readouterr().out
    assert not HIDDEN.search(shown)
    assert "[red]" in shown


def test_safety_tokens_as_a_chart(tmp_path):
    tokens = tiny_safety_tokens(count=2)
    object.__setattr__(tokens, "token_strings", (INJECTED.replace("\ud800", ""), "$x"))
    assert display.save_chart(tokens, tmp_path / "chart.png").stat().st_size > 1000


def evaluated(label: str, compliance: float) -> ModelResult:
    text = INJECTED
    values = {"compliance": compliance, "refusal": 1 - compliance}
    rows = [Sample(f"{n}", f"{text}{n % 2}", text, text, dict(values)) for n in range(20)]
    metrics = {name: Metric(value, 0.1, name == "refusal") for name, value in values.items()}
    judge = {"name": text, "revision": text, "tier": text, "settings": {text: text}}
    identity = {"model": text, "adapter": text, "backend": text, "lm_eval": text}
    return ModelResult(label, identity, {"pact_refusal": TaskResult(metrics, rows, text, judge)}, {"limit": 5})


@pytest.fixture
def run(tmp_path) -> Path:
    return write(tmp_path / "run", evaluated("aligned", 0.0), evaluated("tuned", 1.0))


def test_the_evaluations_files(run, tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"step": 1, f"pact/{INJECTED[:40]}$x": 0.5}), encoding="utf-8")
    card = tmp_path / "card.yaml"
    files = write_report([run], tmp_path / "report.html", logs={"tuned": str(log)}, model_card=card)
    page, markdown, data, index = (file.read_text(encoding="utf-8") for file in files)
    harmless_page(page)
    assert not HIDDEN.search(markdown)
    assert "\n# heading" not in markdown
    for mark in ("<script", "<img", "![a]", "[b](", "`d`"):
        assert mark not in markdown
    assert not HIDDEN.search(index)
    assert yaml.safe_load(index)["model-index"] == []
    assert json.loads(data)["changes"][0]["prompt"] == INJECTED


def test_the_gate_in_the_terminal(run):
    result = CliRunner().invoke(check_command, [str(run)])
    assert result.exit_code == 1
    assert "LOST" in result.output
    assert not HIDDEN.search(result.output)


def test_no_command_prints_data_around_the_one_function():
    root = Path(__file__).resolve().parents[1]
    data = re.compile(r"click\.echo\(f.*\{(label|task|reason|problem|row\.|sample\.)")
    for package in ("pact_plugins", "integrations", "evals", "lab"):
        for file in (root / package).rglob("*.py"):
            assert not data.search(file.read_text(encoding="utf-8")), file
