"""Files that an audit writes, checked before anything is computed: never in place, never over another by accident."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pact_plugins.audit.report import AuditReport
from pact_plugins.conversation.reading import Source
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import write_json, write_text


@dataclass(frozen=True)
class Outputs:
    """Where to write what; None where it is not wanted.

    Attributes:
        filtered: the data without the flagged rows, in the data's own format, all columns and the order kept.
        flagged: the flagged rows alone, likewise.
        json, html: the report.
        overwrite: whether ``filtered`` and ``flagged`` may replace files; never the data itself.
    """

    filtered: Path | None = None
    flagged: Path | None = None
    json: Path | None = None
    html: Path | None = None
    overwrite: bool = False

    def check(self, source: Source) -> None:
        """Raise ConfigurationError where a file is the data, exists, is named twice or has the wrong format."""
        named = {
            option: path
            for option, path in (
                ("--filtered", self.filtered),
                ("--flagged", self.flagged),
                ("--json", self.json),
                ("--html", self.html),
            )
            if path is not None
        }
        places = [path.resolve() for path in named.values()]
        for option, path in named.items():
            if places.count(path.resolve()) > 1:
                raise ConfigurationError(f"{option}: {path} is named for two different outputs")
            if source.file is not None and path.exists() and path.samefile(source.file):
                raise ConfigurationError(f"{option}: {path} is the data itself, which is never overwritten")
            if option in ("--filtered", "--flagged"):
                self._check_copy(option, path, source)

    def _check_copy(self, option: str, path: Path, source: Source) -> None:
        if path.suffix not in source.suffixes:
            raise ConfigurationError(
                f"{option}: {path} must end in {' or '.join(source.suffixes)}, the format of {source.name}"
            )
        if path.exists() and not self.overwrite:
            raise ConfigurationError(f"{option}: {path} exists; choose another file, or add --overwrite")

    def write(self, report: AuditReport, source: Source) -> list[str]:
        """Write all files and return a line for each."""
        lines = []
        if self.json is not None:
            write_json(self.json, {"data": source.name, **report.as_dict()})
            lines.append(f"report: {self.json}")
        if self.html is not None:
            from pact_plugins.audit.report.page import render_page

            write_text(self.html, render_page(report, data=source.name))
            lines.append(f"report: {self.html}")
        copies = (
            ("without the flagged rows", report.kept_indices, self.filtered),
            ("flagged rows", report.flagged_indices, self.flagged),
        )
        for what, indices, path in copies:
            if path is not None:
                source.write(indices, path)
                lines.append(f"{what}: {len(indices)} rows in {path}")
        return lines
