"""``docs/troubleshooting.md``: behind what is written by hand, every error's text by subject."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from docs.generate.messages import Message, messages

PAGE = Path(__file__).resolve().parents[1] / "troubleshooting.md"
MARK = "<!-- made by make pages -->"

# The first prefix that fits a module's path says what its errors are about, and which page to read.
SUBJECTS = {
    "pact_plugins/config": ("Settings", "configuration.md"),
    "pact_plugins/files": ("Settings", "configuration.md"),
    "pact_plugins/safety_tokens": ("Safety tokens", "choosing.md#safety-tokens"),
    "pact_plugins/prompts": ("Safety tokens", "choosing.md#safety-tokens"),
    "pact_plugins/reference": ("The reference", "reference.md"),
    "pact_plugins/row_gate": ("Row gate and anchor", "guard.md"),
    "pact_plugins/anchor": ("Row gate and anchor", "guard.md"),
    "pact_plugins/audit": ("Audit", "audit.md"),
    "pact_plugins/activation": ("Short names", "activation.md"),
    "pact_plugins/cli/activation": ("Short names", "activation.md"),
    "pact_plugins/plugins": ("Plugins", "hooks.md"),
    "pact_plugins/new_plugin": ("Plugins", "hooks.md"),
    "pact_plugins/contracts": ("Plugins", "hooks.md"),
    "pact_plugins/compatibility": ("Versions", "compatibility.md"),
    "pact_plugins/cli": ("Commands", "commands.md"),
    "pact_plugins": ("Model, trainer and term", "reliability.md"),
    "integrations/pact_trl": ("TRL", "trl.md"),
    "integrations/pact_axolotl": ("Axolotl", "axolotl.md"),
    "integrations/pact_llamafactory": ("LLaMA-Factory", "llamafactory.md"),
    "evals/pact_evals/judges": ("Judges", "judges.md"),
    "evals": ("Evaluation", "evals.md"),
    "lab/pact_lab/bench": ("Benchmark", "cost.md"),
    "lab": ("Demo and comparison", "comparison.md"),
    "": ("Others", "limits.md"),
}


def page() -> str:
    """The page with the errors of today behind its mark; what stands before it is written by hand."""
    before, mark, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    order = list(dict.fromkeys(SUBJECTS.values()))
    chosen = sorted(messages(), key=lambda message: (order.index(subject(message)), message))
    sections = [_section(of, list(group)) for of, group in groupby(chosen, subject)]
    return f"{before}{mark}\n\n" + "\n\n".join(sections) + "\n"


def subject(message: Message) -> tuple[str, str]:
    """Title and page of what the message is about."""
    return next(about for prefix, about in SUBJECTS.items() if message.place.startswith(prefix))


def _section(about: tuple[str, str], group: list[Message]) -> str:
    title, link = about
    lines = [f"### {title}", "", f"More: [{link.partition('#')[0]}]({link}).", ""]
    lines += [f"- {_code(message.text)} ({message.error}, `{message.place}`)" for message in group]
    return "\n".join(lines)


def _code(text: str) -> str:
    """As inline code, in which backticks may stand."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"
