"""A hook of MkDocs: files of the repository that a page links outside of ``docs/`` become part of the site.

On the repository's own pages ``../examples/trl/finetune.py`` is a link as any other. In the site Markdown becomes a
page, source text a page that shows it, a notebook a page of its texts and code, and everything else (JSON, drawings) is
copied.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)\s]*)?\))")
_SHOWN = {".py": "python", ".yml": "yaml", ".yaml": "yaml", ".sh": "bash", ".jsonl": "json", ".toml": "toml"}


def on_config(config: Any) -> Any:
    """The version, and where the sources lie: GitHub's runners say it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    config.extra["version"] = project["version"]
    if repository := os.environ.get("GITHUB_REPOSITORY"):
        config.repo_url = f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{repository}"
        config.repo_name = repository
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add what the pages link, and what those pages link in turn."""
    waiting = [file for file in files if file.is_documentation_page()]
    while waiting:
        page = waiting.pop()
        for _, target, _ in _LINK.findall(page.content_string):
            place = _place(page.src_uri, target)
            if files.get_file_from_path(_in_site(place)) is not None or not (ROOT / place).is_file():
                continue
            added = _carried(place, config)
            files.append(added)
            if added.is_documentation_page():
                waiting.append(added)
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Point the links to where the site has those files; a link to nothing stays, for MkDocs to complain of."""

    def moved(link: re.Match[str]) -> str:
        place = _in_site(_place(page.file.src_uri, link[2]))
        if files.get_file_from_path(place) is None:
            return link[0]
        return link[1] + posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".") + link[3]

    return _LINK.sub(moved, markdown)


def _place(page: str, target: str) -> str:
    """The path in the repository of what ``page``, a path in the site, links as ``target``."""
    # A file that is shown has a page of its name with .md behind it.
    outside = (name for name in (page, page.removesuffix(".md")) if (ROOT / name).is_file())
    home = next((name for name in outside if not (ROOT / "docs" / page).is_file()), f"docs/{page}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(home), target))


def _in_site(place: str) -> str:
    shown = ".md" if Path(place).suffix in (*_SHOWN, ".ipynb") else ""
    return place.removeprefix("docs/") + shown


def _carried(place: str, config: Any) -> File:
    language, source = _SHOWN.get(Path(place).suffix), ROOT / place
    if source.suffix == ".ipynb":
        where: dict[str, Any] = {"content": _notebook(source)}
    elif language is None:
        where = {"abs_src_path": str(source)}
    else:
        text = source.read_text(encoding="utf-8")
        where = {"content": f"---\ntitle: {source.name}\n---\n\n# `{place}`\n\n````{language}\n{text}````\n"}
    return File.generated(config, _in_site(place), inclusion=InclusionLevel.NOT_IN_NAV, **where)


def _notebook(source: Path) -> str:
    """Its cells one after the other, code as code."""
    cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
    texts = [("".join(cell["source"]), cell["cell_type"] == "code") for cell in cells]
    return "\n\n".join(f"````python\n{text}\n````" if is_code else text for text, is_code in texts) + "\n"
