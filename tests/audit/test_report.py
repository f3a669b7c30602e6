"""The page and the JSON: complete, escaped, self-contained."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ElementTree
from contextlib import redirect_stdout

from pact_plugins.audit import AuditReport, FlaggedRow, Rate, Threshold
from pact_plugins.audit.report.page import render_page
from pact_plugins.audit.report.terminal import print_report
from pact_plugins.audit.report.words import summary
from pact_plugins.safety_tokens.opening_tokens import OpeningTokens

EVIL = "<script>alert(1)</script> [red]x[/red] & 'more'"


def report(**changes):
    flagged = [
        FlaggedRow(3, 0.98, 2, 3, 0.01, "ĠSure", -4.56, False, EVIL, "Sure " + "y" * 500),
        FlaggedRow(1, 0.7, 1, 1, 0.2, None, None, True, "second", ""),
    ]
    values = {
        "scores": [0.0, 0.7, None, 0.98, 0.1],
        "flagged": flagged,
        "unreadable": {2: "`x` is <b>a list</b>"},
        "turns": 6,
        "unprompted": 1,
        "formats": {"chat": 4},
        "threshold": Threshold(0.5, False, Rate(2, 132), Rate(120, 132)),
        "opening_tokens": OpeningTokens((5, 6), (7,)),
        "opening_token_strings": {"refusal": ["I", "ĠSorry"], "compliance": ["Sure"]},
        "prompts": "the bundled ones",
        "opening_tokens_from": "prompts",
        "model": "some/model",
    }
    return AuditReport(**{**values, **changes})


def printed(value, shown=10):
    with redirect_stdout(io.StringIO()) as written:
        print_report(value, shown=shown)
    return written.getvalue()


def test_the_page_escapes_the_data_and_needs_no_other_file():
    page = render_page(report(), data="data <1>")
    assert page.count("<script>") == 1  # ours; the page's policy lets no other run
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;b&gt;a list" in page
    assert "data &lt;1&gt;" in page
    assert "src=" not in page
    assert "@import" not in page
    svg = page[page.index("<svg") : page.index("</svg>") + 6]
    texts = [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]
    assert any("threshold 0.5" in text for text in texts)
    assert page.index("0.9800") < page.index("0.7000")
    assert "y" * 500 not in page


def test_a_page_without_findings():
    page = render_page(report(flagged=[], unreadable={}, scores=[0.0, 0.1]), data="data")
    assert "None." in page
    assert "Unreadable" not in page


def test_the_terminal_shows_everything_as_it_is():
    text = printed(report())
    for part in ("[red]x[/red]", "0.9800", "2/3", "␣Sure -4.6", "unreadable row 2: `x` is <b>a list</b>", "␣Sorry"):
        assert part in text
    assert "second" not in printed(report(), shown=1)
    assert "highest" not in printed(report(), shown=0)


def test_the_expected_false_positives():
    estimate, low, high = report().expected_false_positives
    assert abs(estimate - 4 * 2 / 132) < 1e-12
    assert low < estimate < high
    text = " ".join(printed(report()).split())
    assert "2 of 132 (95 % interval 0.4 to 5.4 %)" in text
    assert "1 flagged rows begin with a refusal opening token" in text
    assert "1 assistant turns before any user turn" in text
    assert summary(report()).startswith("2 of 5 rows flagged, 1 unreadable: refusal mass above 0.5, which 1.5 % of")


def test_the_json_holds_every_score():
    value = json.loads(json.dumps(report().as_dict(), allow_nan=False))
    assert value["scores"] == [0.0, 0.7, None, 0.98, 0.1]
    assert [row["index"] for row in value["flagged"]] == [3, 1]
    assert value["flagged"][0]["prompt"] == EVIL
    assert value["unreadable"] == {"2": "`x` is <b>a list</b>"}
    assert value["threshold"]["false_positives"]["count"] == 2
    assert value["refusal_opening_tokens"] == [5, 6]
    assert value["refusal_opening_token_strings"] == ["I", "ĠSorry"]


def test_rows_to_keep_and_to_drop():
    assert report().flagged_indices == [1, 3]
    assert report().kept_indices == [0, 2, 4]
    found = report().detection([False, True, True, False, False])
    assert (found.precision.count, found.precision.total, found.recall.total) == (1, 2, 1)
