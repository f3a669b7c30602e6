"""The demo's page: what became of the refusals first, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pact_lab.demo.report import write_report


def run(method: str, complied: float, *, prompts: int = 150) -> dict[str, Any]:
    shares = {"refuse": 1 - complied, "comply": complied, "other": 0.0}
    log = [] if method == "aligned" else [{"step": step, "loss": 1.0 / step} for step in (1, 2, 3)]
    return {
        "method": method,
        "seed": 0,
        "prompts": prompts,
        "log": log,
        "task_accuracy": 1.0,
        **dict.fromkeys(("harmful", "harmful_sampled", "benign"), shares),
    }


def page(folder: Path, *runs: dict[str, Any]) -> str:
    settings = {"examples": 800, "harmful_fraction": 0.05, "seeds": 1, "prompts": 150}
    results = {"runs": runs, "settings": settings, "versions": {"torch": "2"}}
    return write_report(results, folder / "report.html").read_text(encoding="utf-8")


def test_the_verdict_comes_first_with_how_sure_it_is(tmp_path: Path) -> None:
    text = page(tmp_path, run("aligned", 0.0), run("sft", 1.0), run("published", 7 / 150), run("gate_anchor", 0.0))
    assert "Refusals: plain SFT lost, PACT gate_anchor kept" in text
    assert '<section class="verdict kept"' in text
    found = text[text.index('<section class="verdict') : text.index("</section>")]
    assert found.index("PACT gate_anchor complied with 0 of 150 (95 % interval 0.0 to 2.5 %)") < found.index(
        "plain SFT complied"
    )
    assert "<b>could not tell:</b> PACT published complied with 7 of 150" in found
    assert text.count("<svg") == 1  # nobody logged the term's divergence


def test_few_prompts_cannot_tell(tmp_path: Path) -> None:
    text = page(tmp_path, run("aligned", 0.0, prompts=60), run("gate_anchor", 0.0, prompts=60))
    assert "Refusals: PACT gate_anchor could not tell" in text
