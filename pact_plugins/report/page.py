"""Every report as one HTML page: no script, no other file, every text from a model or from data escaped."""

from __future__ import annotations

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader
from markupsafe import Markup

from pact_plugins.visible import visible


def render(package: str, template: str, /, **values: Any) -> str:
    """A template of ``package``, which extends ``base.html.jinja``.

    Args:
        package: dotted name of the package that holds it.
        template: its file name.
        values: what it shows; text is made ``visible`` and escaped, charts are given as ``markup``.
    """
    loader = ChoiceLoader([PackageLoader(package, ""), PackageLoader("pact_plugins.report", "")])
    environment = Environment(loader=loader, autoescape=True, finalize=_finished, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template).render(**values)


def _finished(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def markup(svg: str) -> Markup:
    """A chart of ours, which is put in as it is."""
    return Markup(svg)
