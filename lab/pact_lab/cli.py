"""``pact demo`` and ``pact bench``."""

from __future__ import annotations

from pathlib import Path

import click

from pact_plugins.cli.interruption import keeping
from pact_plugins.cli.options import output_folder


@click.command()
@output_folder("runs/demo", "folder for models, results and the report")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="fine-tunings per method")
@click.option("--prompts", type=click.IntRange(min=10), default=150, show_default=True, help="held-out prompts per set")
@click.option(
    "--harmful-fraction", type=click.FloatRange(0, 0.5), default=0.05, show_default=True, help="of the training rows"
)
@click.option("--control", is_flag=True, help="also hold fifty random tokens")
@click.option("--all-methods", is_flag=True, help="also the other objectives, match without openings, and the control")
def demo(output: Path, seeds: int, prompts: int, harmful_fraction: float, control: bool, all_methods: bool) -> None:
    """Watch a model lose its refusals, and keep them with PACT.

    A small aligned model that ships with the package is fine-tuned plainly and with PACT, in some minutes on a CPU. The
    figures are printed; OUTPUT keeps them, a page of charts, and the models. An interrupted demo goes on where it
    stopped.

    \b
    Examples:
      pact demo
      pact demo --seeds 3 --control -o runs/demo
    """
    try:
        import lm_eval  # noqa: F401
        import trl  # noqa: F401
    except ImportError as error:
        raise click.ClickException(f"{error}; the demo needs: pip install 'pact-plugins[trl,eval]'") from None
    from pact_lab.demo import report, running, summary

    settings = running.DemoSettings(output, seeds, prompts, harmful_fraction, control, all_methods)
    with keeping(f"The models that were finished are kept in {output}: the same command goes on from there."):
        results = running.run(settings)
    page = report.write_report(results, output / "report.html")
    summary.print_summary(results["runs"])
    click.echo(f"Written: {output / 'results.json'} and {page}")


@click.command()
@output_folder("runs/bench", "folder for results and report")
@click.option(
    "--grid",
    type=click.Choice(["quick", "cpu", "gpu", "llamafactory", "watch", "accumulation", "default"]),
    default="cpu",
    show_default=True,
    help="which sizes and modes are measured",
)
@click.option("--steps", type=click.IntRange(min=3), default=7, show_default=True, help="measured steps of each mode")
@click.option("--warmup", type=click.IntRange(min=1), default=2, show_default=True, help="steps before, not counted")
@click.option("--profile", is_flag=True, help="also what PACT adds, by torch profiler")
def bench(output: Path, grid: str, steps: int, warmup: int, profile: bool) -> None:
    """Measure what PACT costs, as ratios to plain fine-tuning.

    Paired ratios, also to a naive implementation. An interrupted run goes on where it stopped; delete its files to
    measure everything again.

    \b
    Examples:
      pact bench --grid quick
      pact bench --grid gpu --profile -o runs/bench
    """
    try:
        import trl  # noqa: F401
    except ImportError as error:
        raise click.ClickException(f"{error}; the benchmark needs: pip install 'pact-plugins[trl]'") from None
    from pact_lab.bench import runner

    with keeping(f"The rows that were measured are kept in {output}: the same command goes on from there."):
        results = runner.run(runner.BenchSettings(output, grid, steps, warmup, profile))
    click.echo((output / f"{grid}.md").read_text(encoding="utf-8"))
    click.echo(f"{len(results['rows'])} rows written: {output / grid}.json, .md, .svg and .html")
