"""Every report as one HTML page: no other file, one script of ours, every text from a model or from data escaped."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader
from markupsafe import Markup

from pact_plugins.visible import visible

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{}'"


@dataclass(frozen=True)
class Bar:
    """One row of a bar chart from 0 to 100 %.

    Attributes:
        value, low, high: fractions; without ``low`` and ``high`` there is no whisker.
        text: the figure in words, beside the bar.
        kind: ``good``, ``bad``, ``other`` or nothing: the colour.
    """

    name: str
    value: float
    text: str
    low: float | None = None
    high: float | None = None
    kind: str = ""

    @property
    def width(self) -> str:
        """Of the bar, in per cent of its track."""
        return _percent(self.value)

    @property
    def whisker(self) -> tuple[str, str] | None:
        """Where the interval begins and how wide it is, in per cent of the track."""
        if self.low is None or self.high is None:
            return None
        low, high = (min(max(end, 0.0), 1.0) for end in (self.low, self.high))
        return _percent(low), _percent(high - low)


@dataclass(frozen=True)
class Stack:
    """One row of shares: ``(class, fraction)`` each, from left to right."""

    name: str
    shares: tuple[tuple[str, float], ...]
    text: str

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Class and width in per cent of the track."""
        return [(kind, _percent(share)) for kind, share in self.shares]


def _percent(fraction: float) -> str:
    return f"{100 * min(max(fraction, 0.0), 1.0):.2f}".rstrip("0").rstrip(".")


def render(package: str, template: str, /, **values: Any) -> str:
    """A template of ``package``, which extends ``base.html.jinja``.

    The page's content policy lets a browser run the one script that ships with the package and load nothing.

    Args:
        package: dotted name of the package that holds it.
        template: its file name.
        values: what it shows; text is made ``visible`` and escaped, charts are given as ``markup``.
    """
    loader = ChoiceLoader([PackageLoader(package, ""), PackageLoader("pact_plugins.report", "")])
    environment = Environment(loader=loader, autoescape=True, finalize=_finished, trim_blocks=True, lstrip_blocks=True)
    script = _asset("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(
        style=Markup(_asset("style.css")),
        script=Markup(script),
        content_security_policy=Markup(_POLICY.format(digest)),
        **values,
    )


def _asset(name: str) -> str:
    return resources.files("pact_plugins.report").joinpath(name).read_text(encoding="utf-8")


def _finished(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def markup(svg: str) -> Markup:
    """A chart of ours, which is put in as it is."""
    return Markup(svg)
