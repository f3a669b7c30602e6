"""Fine-tune a chat model on your own data with TRL and PACT, and see what happened to its refusals and to the task.

    python examples/trl/finetune.py --model meta-llama/Llama-3.2-1B-Instruct --data sst2_5k.json --output runs/sst2

Data: a JSON list or JSON lines with `instruction`, `input`, `output` (or `prompt`, `response`). The last rows are held
out to measure the task. Refusals are measured on the bundled evaluation prompts, which calibration never sees.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from pact_plugins import PACTCallback, PACTConfig, plugins
from pact_plugins.files import read_rows
from pact_plugins.modeling.generation import generate
from pact_plugins.prompts import harmful_prompts, harmless_prompts


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="aligned chat model: a path or a hub id")
    parser.add_argument("--data", required=True, help="JSON or JSONL")
    parser.add_argument("--output", required=True, help="folder for the fine-tuned model")
    parser.add_argument("--rows", type=int, default=None, help="train on the first rows only")
    parser.add_argument("--held-out", type=int, default=200, help="rows kept for measuring the task")
    parser.add_argument("--prompts", type=int, default=64, help="bundled prompts asked before and after")
    parser.add_argument("--full", action="store_true", help="train all weights instead of a LoRA adapter")
    parser.add_argument("--plain", action="store_true", help="without PACT, for comparison")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--safety-tokens", default=None, help="a file made by `pact calibrate`; else calibrated first")
    parser.add_argument("--harmful-prompts", default=None, help="prompts for calibration, else the bundled ones")
    parser.add_argument("--preset", default="pact")
    return parser.parse_args()


def read_data(path: str) -> list[tuple[str, str]]:
    """(prompt, response) pairs in either of the two formats."""
    pairs = []
    for row in read_rows(path, key="--data"):
        prompt = row["prompt"] if "prompt" in row else "\n\n".join(filter(None, (row["instruction"], row.get("input"))))
        pairs.append((prompt, row["response"] if "response" in row else row["output"]))
    return pairs


def conversation(prompt: str, response: str) -> dict[str, Any]:
    """A row in TRL's conversational prompt/completion format."""
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": response}],
    }


def measure(model: Any, tokenizer: Any, held_out: list[tuple[str, str]], prompts: int) -> dict[str, float]:
    """Fractions: harmful prompts refused, harmless prompts refused, held-out rows answered exactly."""
    judge = plugins.judges()["keyword"]()
    result = {}
    for name, bundled in (("refused, harmful", harmful_prompts), ("refused, harmless", harmless_prompts)):
        asked = [item.prompt for item in bundled("evaluation")[:prompts]]
        answers = generate(model, tokenizer, asked, max_new_tokens=48, description=name)
        labels = judge.label([{"prompt": p, "response": r} for p, r in zip(asked, answers, strict=True)])
        result[name] = sum(label in ("refusal", "partial_refusal") for label in labels) / len(labels)
    answers = generate(model, tokenizer, [prompt for prompt, _ in held_out], max_new_tokens=16, description="task")
    exact = [
        answer.strip().lower() == expected.strip().lower()
        for answer, (_, expected) in zip(answers, held_out, strict=True)
    ]
    result["task, exact match"] = sum(exact) / max(len(exact), 1)
    return result


def main() -> None:
    """Measure, fine-tune, measure again, print both."""
    options = arguments()
    pairs = read_data(options.data)
    training, held_out = pairs[: -options.held_out][: options.rows], pairs[-options.held_out :]
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto")
    before = measure(model, tokenizer, held_out, options.prompts)

    config = PACTConfig(
        preset=options.preset,
        safety_tokens={"file": options.safety_tokens, "harmful_prompts_path": options.harmful_prompts},
    )
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([conversation(*pair) for pair in training]),
        peft_config=None if options.full else LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"),
        callbacks=[] if options.plain else [PACTCallback(config)],
        args=SFTConfig(
            output_dir=options.output,
            num_train_epochs=options.epochs,
            per_device_train_batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            max_length=options.max_length,
            bf16=torch.cuda.is_available(),
            use_cpu=not torch.cuda.is_available(),
            logging_steps=10,
            logging_first_step=True,
            save_strategy="no",
            report_to=[],
        ),
    )
    trainer.train()
    trainer.save_model()

    after = measure(trainer.model, tokenizer, held_out, options.prompts)
    table = Table()
    for column in ("", "before", "after"):
        table.add_column(column, justify="left" if not column else "right")
    for name in before:
        table.add_row(name, f"{before[name]:.1%}", f"{after[name]:.1%}")
    console = Console()
    console.print(f"{options.model} on {options.data}, {len(training)} rows", highlight=False, soft_wrap=True)
    console.print(table)


if __name__ == "__main__":
    main()
