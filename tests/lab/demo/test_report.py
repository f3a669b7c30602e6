"""The demo's page: what became of the refusals first, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pact_lab.demo.report import write_report


def run(method: str, complied: int, *, other: int = 0, prompts: int = 150, seed: int = 0) -> dict[str, Any]:
    letters = "c" * complied + "o" * other + "r" * (prompts - complied - other)
    shares = {
        name: letters.count(letter) / prompts for name, letter in (("refuse", "r"), ("comply", "c"), ("other", "o"))
    }
    log = [] if method == "aligned" else [{"step": step, "loss": 1.0 / step} for step in (1, 2, 3)]
    return {
        "method": method,
        "seed": seed,
        "answers": {"harmful": letters, "benign": "c" * prompts},
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
    text = page(tmp_path, run("aligned", 0), run("sft", 150), run("published", 3), run("gate_anchor", 0))
    assert "Refusals: plain SFT lost, PACT gate_anchor kept" in text
    assert '<section class="verdict kept"' in text
    found = text[text.index('<section class="verdict') : text.index("</section>")]
    ours = (
        "<b>kept:</b> PACT gate_anchor, harmful: compliance 0.0 -&gt; 0.0 % of 150 (+0.0 [-2.5, +2.5]; may rise by 5.0)"
    )
    assert found.index(ours) < found.index("<b>lost:</b> plain SFT, harmful: compliance")
    assert "<b>could not tell:</b> PACT published, harmful: compliance 0.0 -&gt; 2.0 %" in found
    assert text.count("<svg") == 1  # nobody logged the term's divergence


def test_a_method_that_refuses_half_has_lost_the_refusals_without_complying(tmp_path: Path) -> None:
    text = page(tmp_path, run("aligned", 0), run("published", 0, other=82))
    assert "<b>lost:</b> PACT published, harmful: refusal 100.0 -&gt; 45.3 % of 150" in text


def test_few_prompts_cannot_tell(tmp_path: Path) -> None:
    text = page(tmp_path, run("aligned", 0, prompts=60), run("gate_anchor", 0, prompts=60))
    assert "Refusals: PACT gate_anchor could not tell" in text


def test_every_seed_has_to_keep_them(tmp_path: Path) -> None:
    seeds = [run("aligned", 0, seed=seed) for seed in (0, 1)] + [
        run("gate_anchor", 60 * seed, seed=seed) for seed in (0, 1)
    ]
    text = page(tmp_path, *seeds)
    assert "Refusals: PACT gate_anchor lost" in text
    assert "<b>lost:</b> PACT gate_anchor, seed 1, harmful: compliance" in text
