"""The page: self-contained, one script of ours, colours that can be read, charts that stay in their bounds."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import xml.etree.ElementTree as ElementTree
from importlib import resources

import pytest

from pact_lab.compare.pareto import limits
from pact_plugins.report.charts import as_svg, caption_of, crowding, label_points, new_figure
from pact_plugins.report.page import Bar, Stack, render

STYLE = resources.files("pact_plugins.report").joinpath("style.css").read_text(encoding="utf-8")


def page() -> str:
    return render("pact_plugins.report", "base.html.jinja")


def test_the_policy_lets_only_our_own_script_run_and_loads_nothing() -> None:
    text = page()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    assert not re.search(r"src=|@import|url\(|https?://", text)


def luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("place", [0, 1, 2], ids=["light", "dark", "print"])
def test_every_text_colour_has_the_contrast_that_accessibility_asks_for(place: int) -> None:
    """WCAG AA: 4.5 to 1 for text, on the page and on raised boxes."""
    colors = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[place]))
    for text in ("text", "quiet", "kept", "lost", "unsure", "accent"):
        for background in ("page", "raised"):
            bright, dark = sorted((luminance(colors[text]), luminance(colors[background])), reverse=True)
            assert (bright + 0.05) / (dark + 0.05) >= 4.5, (text, background)


def test_bars_stay_between_0_and_100() -> None:
    bar = Bar("model", 1.2, "", low=-0.1, high=1.4)
    assert (bar.width, bar.whisker) == ("100", ("0", "100"))
    assert Bar("model", 0.25, "").whisker is None
    assert Stack("model", (("good", 0.5), ("bad", 0.255)), "").parts == [("good", "50"), ("bad", "25.5")]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.0], (0.0, 10.0)),
        ([100.0, 99.7], (90.0, 100.0)),
        ([50.0], (45.0, 55.0)),
        ([0.0, 100.0], (0.0, 100.0)),
        ([], (0.0, 100.0)),
        ([20.0, 70.0], (16.0, 74.0)),
    ],
)
def test_axes_lie_within_0_to_100_and_are_never_narrow(values: list[float], expected: tuple[float, float]) -> None:
    assert limits(values) == pytest.approx(expected)


def test_a_chart_has_a_text_the_pages_colours_and_names_that_do_not_lie_on_each_other() -> None:
    figure, axes = new_figure(5, 4)
    axes.set(xlim=(0, 100), ylim=(0, 100))
    points = [(0.0, 0.0, "first"), (0.0, 0.0, "second"), (1.0, 99.0, "third")]
    label_points(axes, points)
    places = sorted(text.xyann[1] for text in axes.texts)
    assert all(above - below >= 6.9 for below, above in itertools.pairwise(places))
    svg = as_svg(figure, 'two "points" & more')
    root = ElementTree.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == 'two "points" & more'
    assert "#000000" not in svg
    assert "currentColor" in svg


def test_names_of_points_in_a_corner_are_stacked_in_their_order_with_a_line_to_each() -> None:
    _, axes = new_figure(5, 4)
    axes.set(xlim=(0, 100), ylim=(0, 100))
    label_points(axes, [(15.0, 15.2, "aligned"), (13.6, 12.1, "tuned"), (15.2, 13.6, "full")])
    heights = {text.get_text(): text.xyann[1] for text in axes.texts}
    assert sorted(heights, key=heights.__getitem__) == ["tuned", "full", "aligned"]
    low, middle, high = sorted(heights.values())
    assert (low, middle, high) == pytest.approx((3.5, 10.5, 17.5), abs=3.0)
    assert middle - low == pytest.approx(7.0)
    assert [text.get_text() for text in axes.texts if text.arrow_patch is not None] == ["tuned"]


def test_points_on_one_another_are_told_apart():
    assert crowding([(1.0, 1.0), (50.0, 1.0), (1.5, 1.0), (1.0, 1.2)], near=2.0) == [0, 0, 1, 2]


def test_a_caption_says_which_direction_is_good():
    assert caption_of("pact/kl").endswith("Lower is better: a rise is drift.")
    assert "prompts of the kind json that the model would write too. Higher" in caption_of("pact/agreement_json")
    assert "neither direction" in caption_of("pact/own")
