"""Builds the toy benchmark from nothing: tokenizer, base model, aligned model."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from pact_lab.tiny_world.corpora import AlignmentRow, BaseDocument, alignment_rows, base_documents
from pact_lab.tiny_world.model import new_model, save_checkpoint
from pact_lab.tiny_world.tasks import PRETRAINING_TASKS, task_examples
from pact_lab.tiny_world.tokenizer import ASSISTANT, encode, train_tokenizer
from pact_lab.tiny_world.training import TokenizedExample, train
from pact_plugins.errors import ConfigurationError
from pact_plugins.files import make_folder

BASE_LEARNING_RATE = 2e-3
ALIGNED_LEARNING_RATE = 1e-3
BATCH_SIZE = 16


def build(
    output_path: str | Path,
    *,
    base_examples: int = 16_000,
    aligned_examples: int = 10_000,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Train base and aligned model and write them as `output_path/base` and `output_path/aligned`.

    The folder appears in one piece: everything is written beside it under a temporary name, then renamed. The caller's
    random-number state is left alone.

    Args:
        output_path: a folder that does not exist yet, or is empty.
        base_examples: documents that the base model reads, once.
        aligned_examples: chat rows that alignment reads, once.
        seed: of text, initial weights and order.
        progress: show progress bars.

    Returns:
        The folder.

    Raises:
        ConfigurationError: the folder has files in it, is a file, or a size is not positive.
    """
    output = Path(output_path).absolute()
    for name, size in (("base_examples", base_examples), ("aligned_examples", aligned_examples)):
        if size < 1:
            raise ConfigurationError(f"{name}: {size} must be at least 1")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigurationError(f"{output} exists already; remove it or choose another output folder")
    make_folder(output.parent)
    partial = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            _build_into(partial, base_examples, aligned_examples, seed, progress)
        partial.chmod(0o755)
        partial.replace(output)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return output


def _build_into(folder: Path, base_examples: int, aligned_examples: int, seed: int, progress: bool) -> None:
    documents = base_documents(base_examples, seed=seed)
    rows = alignment_rows(aligned_examples, seed=seed)
    tokenizer = train_tokenizer(_tokenizer_texts(seed))
    model = new_model(tokenizer)
    _train(model, _base_examples(tokenizer, documents), BASE_LEARNING_RATE, seed, "base", progress)
    save_checkpoint(model, tokenizer, folder / "base")
    _train(model, _alignment_examples(tokenizer, rows), ALIGNED_LEARNING_RATE, seed, "aligned", progress)
    save_checkpoint(model, tokenizer, folder / "aligned")
    record = {
        "base_examples": base_examples,
        "aligned_examples": aligned_examples,
        "seed": seed,
        "parameters": model.num_parameters(),
        "vocabulary_size": len(tokenizer),
    }
    (folder / "world.json").write_text(json.dumps(record, indent=2) + "\n")


def _tokenizer_texts(seed: int) -> list[str]:
    """Text for the tokenizer: of fixed amount, so that smaller worlds have the same vocabulary."""
    texts = [document.prompt + document.text for document in base_documents(15_000, seed=seed)]
    texts += [f"{row.system}\n{row.prompt or ''}\n{row.response}" for row in alignment_rows(8_000, seed=seed)]
    examples = task_examples(5_000, seed=seed, split="train", tasks=PRETRAINING_TASKS)
    return texts + [f"{example.prompt}\n{example.response}" for example in examples]


def _base_examples(tokenizer: PreTrainedTokenizerFast, documents: Sequence[BaseDocument]) -> list[TokenizedExample]:
    return [
        TokenizedExample(
            encode(tokenizer, document.prompt) + encode(tokenizer, document.text) + [tokenizer.eos_token_id], unlearnt=0
        )
        for document in documents
    ]


def _alignment_examples(tokenizer: PreTrainedTokenizerFast, rows: Sequence[AlignmentRow]) -> list[TokenizedExample]:
    examples = []
    for row in rows:
        context = encode(tokenizer, _chat_context(tokenizer, row))
        response = [*encode(tokenizer, row.response), tokenizer.eos_token_id]
        examples.append(TokenizedExample(context + response, unlearnt=len(context)))
    return examples


def _chat_context(tokenizer: PreTrainedTokenizerFast, row: AlignmentRow) -> str:
    if row.prompt is None:
        return ASSISTANT
    messages = [{"role": "system", "content": row.system}] if row.system else []
    messages.append({"role": "user", "content": row.prompt})
    return str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def _train(
    model: LlamaForCausalLM,
    examples: Sequence[TokenizedExample],
    learning_rate: float,
    seed: int,
    name: str,
    progress: bool,
) -> None:
    with tqdm(total=len(examples), desc=f"training {name}", unit="example", disable=not progress) as bar:

        def on_step(count: int, loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update(count)

        train(model, examples, learning_rate=learning_rate, batch_size=BATCH_SIZE, seed=seed, on_step=on_step)
