"""Shared lm-eval tasks, judges and one report: what fine-tuning did to refusals, helpfulness and the task."""

from __future__ import annotations

from pathlib import Path


def tasks_path() -> Path:
    """The folder of task files: `lm_eval --include_path "$(pact tasks-path)"`."""
    return Path(__file__).resolve().parent / "tasks"


__all__ = ["tasks_path"]
