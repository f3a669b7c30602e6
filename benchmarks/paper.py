"""The paper's comparison, row by row, where the hub and a GPU can be had. See benchmarks/reproducing.md.

    python benchmarks/paper.py --model meta-llama/Llama-3.1-8B-Instruct --base meta-llama/Llama-3.1-8B \\
        --task sst2 --rows plain,published
    python benchmarks/paper.py --model MODEL --task agnews --rows all --dry-run     # print the commands alone

A row is one fine-tuning: the data are written once a task, a row whose model is there is not trained again, and the
evaluation keeps what it has. Everything goes to OUTPUT/TASK.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

# What each row says to PACT. Safety tokens are each row's own: the paper's selection knows no opening tokens.
ROWS: dict[str, dict[str, Any]] = {
    "plain": {"preset": "off"},
    "published": {"preset": "published"},
    "match": {"preset": "match"},
    "gate_anchor": {"preset": "gate_anchor"},
    "guard": {"preset": "guard"},
}
TASKS = ("sst2", "agnews", "gsm8k")
_SAFETY = "pact_public,pact_refusal_sampled,pact_overrefusal"


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="aligned chat model: a path or a hub id")
    parser.add_argument("--base", default=None, help="base model for the paper's contrast; without it, base-free")
    parser.add_argument("--task", required=True, choices=TASKS)
    parser.add_argument("--rows", default="plain,published", help="all, or some of: " + ", ".join(ROWS))
    parser.add_argument("--data", type=Path, default=None, help="JSONL of prompt and completion; else from the hub")
    parser.add_argument("--count", type=int, default=5000, help="training rows taken from the hub")
    parser.add_argument("--output", type=Path, default=Path("runs/paper"))
    parser.add_argument("--launch", default="pact train trl", help="accelerate launch -m pact_trl, say")
    parser.add_argument("--tasks", default=None, help="of the evaluation; default: the paper's, ours, and the task")
    parser.add_argument("--set", default="", help="options of trl sft for every row: learning_rate=1e-4,max_steps=20")
    parser.add_argument("--dry-run", action="store_true", help="write the YAML files and print the commands")
    options = parser.parse_args(given)
    options.tasks = options.tasks or f"{_SAFETY},pact_{options.task}"
    options.rows = list(ROWS) if options.rows == "all" else options.rows.split(",")
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"--rows: {', '.join(sorted(unknown))} unknown; choose from all, {', '.join(ROWS)}")
    return options


def commands(options: argparse.Namespace) -> list[list[str]]:
    """One training a row, one evaluation of all, one report; writes the rows' YAML files."""
    folder = options.output / options.task
    run, steps = folder / "eval", []
    for row in options.rows:
        config = folder / f"{row}.yaml"
        config.write_text(yaml.safe_dump(settings(options, row), sort_keys=False), encoding="utf-8")
        if not (folder / row / "adapter_model.safetensors").is_file():
            steps.append([*shlex.split(options.launch), str(config)])
    models = [f"aligned={options.model}", *(f"{row}={folder / row}" for row in options.rows)]
    steps.append(["pact", "eval", *models, "--tasks", options.tasks, "-o", str(run)])
    steps.append(["pact", "report", str(run), "-o", str(run / "report.html")])
    return steps


def settings(options: argparse.Namespace, row: str) -> dict[str, Any]:
    """The YAML of one row, for ``pact train trl``. Its training recipe is ours: the paper's is not public."""
    folder = options.output / options.task
    contrast = {"safety_tokens": {"base_model_path": options.base}} if options.base else {}
    given = dict(pair.split("=", 1) for pair in options.set.split(",") if pair)
    return {
        "model_name_or_path": options.model,
        "dtype": "bfloat16",
        "datasets": [{"path": "json", "data_files": str(options.data or folder / "data.jsonl")}],
        "use_peft": True,
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_target_modules": ["all-linear"],
        "output_dir": str(folder / row),
        "num_train_epochs": 3,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "cosine",
        "max_length": 1024,
        "bf16": True,
        "gradient_checkpointing": True,
        "logging_steps": 10,
        "save_strategy": "no",
        "report_to": "none",
        **{key: yaml.safe_load(value) for key, value in given.items()},
        "pact": {**ROWS[row], **contrast},
    }


def write_data(task: str, count: int, path: Path) -> None:
    """``count`` training rows of the public set, with the instruction that the evaluation's task uses."""
    from datasets import load_dataset

    from pact_evals.harness import scoring
    from pact_evals.harness.datasets import PUBLIC_SETS

    public = PUBLIC_SETS[task]
    prompt = getattr(scoring, f"{task}_prompt")
    rows = load_dataset(public.hub, public.config, split="train").shuffle(seed=0)
    rows = rows.select(range(min(count, len(rows))))
    column = next(name for name in public.prompt if name in rows.column_names)
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            # Word problems are learnt with their solution, which ends in the number that is measured.
            answer = str(row["answer"]) if task == "gsm8k" else public.read_answer(row[public.answer or "label"])
            turns = {
                "prompt": [{"role": "user", "content": prompt({"prompt": row[column]})}],
                "completion": [{"role": "assistant", "content": answer}],
            }
            file.write(json.dumps(turns) + "\n")


def main(given: list[str] | None = None) -> int:
    """Run the chosen rows, one command after the other; stop at the first that fails."""
    options = arguments(given)
    folder = options.output / options.task
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data.jsonl"
    if options.data is None and not data.is_file() and not options.dry_run:
        write_data(options.task, options.count, data)
    for command in commands(options):
        sys.stderr.write(f"+ {shlex.join(command)}\n")
        status = 0 if options.dry_run else subprocess.run(command, check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
