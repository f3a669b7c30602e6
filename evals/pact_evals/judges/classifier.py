"""Judges that are local classifier models: a published prompt format in, a short answer out, strictly parsed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from pact_plugins.contracts.judge import UNSCORED, Judge, JudgeIdentity, JudgeUnavailableError, Verdict


class ClassifierJudge(Judge):
    """Base of the local classifiers: loads a causal language model and asks it once per row, greedily.

    Args:
        model: folder or hub id; the published classifier if not given.
        revision: hub revision.
        device, dtype: where and how to run it; `auto` picks a GPU if there is one, and the checkpoint's own dtype.
        batch_size: rows of 512 tokens in one batch, shorter ones more.
    """

    name: str
    default_model: str
    max_new_tokens: int

    def __init__(
        self,
        model: str | None = None,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 8,
    ) -> None:
        self.model_name = model or self.default_model
        self.requested_revision = revision
        self.device, self.dtype, self.batch_size = device, dtype, batch_size
        self._loaded: tuple[Any, Any] | None = None

    @abstractmethod
    def format(self, tokenizer: Any, prompt: str, answer: str) -> list[int]:
        """The token ids of the published input for one row."""

    @abstractmethod
    def parse(self, output: str) -> Verdict:
        """The verdict that the classifier's text expresses; `unscored` unless it has the published form."""

    @property
    def identity(self) -> JudgeIdentity:
        settings = {"model": self.model_name, "dtype": self.dtype}
        return JudgeIdentity(name=self.name, revision=self._revision(), tier="classifier", settings=settings)

    def _revision(self) -> str:
        commit = getattr(self._load()[0].config, "_commit_hash", None)
        return str(commit or self.requested_revision or "local")

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer

            from pact_plugins.modeling.loading import why_not_loaded

            device = self.device if self.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
            try:
                tokenizer = AutoTokenizer.from_pretrained(self.model_name, revision=self.requested_revision)
                model: Any = AutoModelForCausalLM.from_pretrained(
                    self.model_name, revision=self.requested_revision, dtype=self.dtype
                )
            except Exception as error:  # a damaged file is an error of whichever library reads it
                reason = why_not_loaded(self.model_name, error)
                raise JudgeUnavailableError(
                    f"judge {self.name!r}: the model {self.model_name!r} cannot be loaded ({reason}); "
                    "give a local folder with --judge-model"
                ) from error
            self._loaded = (model.to(device).eval(), tokenizer)
        return self._loaded

    def assess_answers(self, rows: Sequence[tuple[str, str]]) -> list[Verdict]:
        from pact_plugins.batch.sequences import group_by_length
        from pact_plugins.batch.teacher_forcing import SEQUENCE_TOKENS

        model, tokenizer = self._load()
        inputs = [self.format(tokenizer, prompt, answer) for prompt, answer in rows]
        limit = getattr(model.config, "max_position_embeddings", None) or 1 << 30
        verdicts: list[Verdict | None] = [None] * len(inputs)
        fitting = []
        for index, ids in enumerate(inputs):
            if len(ids) + self.max_new_tokens > limit:
                verdicts[index] = Verdict(UNSCORED, reason=f"{len(ids)} tokens do not fit the judge's {limit}")
            else:
                fitting.append(index)
        lengths = [len(inputs[index]) + self.max_new_tokens for index in fitting]
        for places in group_by_length(lengths, max_tokens=self.batch_size * SEQUENCE_TOKENS):
            batch = [fitting[place] for place in places]
            for index, output in zip(batch, self._generate([inputs[index] for index in batch]), strict=True):
                verdicts[index] = self.parse(output)
        return [verdict or Verdict(UNSCORED, reason="not judged") for verdict in verdicts]

    def _generate(self, batch: list[list[int]]) -> list[str]:
        import torch

        model, tokenizer = self._load()
        pad = next(token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if token is not None)
        width = max(map(len, batch))
        input_ids = torch.tensor([[pad] * (width - len(ids)) + ids for ids in batch], device=model.device)
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in batch], device=model.device)
        with torch.no_grad():
            generated = model.generate(
                input_ids=input_ids,
                attention_mask=mask,
                max_new_tokens=self.max_new_tokens,
                do_sample=False,
                pad_token_id=pad,
            )
        return [str(text) for text in tokenizer.batch_decode(generated[:, width:], skip_special_tokens=True)]


def encode_chat_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text that already holds its chat markers: the beginning-of-text token once, nothing else added."""
    ids = [int(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
    bos = tokenizer.bos_token_id
    return ids if bos is None or ids[:1] == [bos] else [int(bos), *ids]


def unreadable(output: str) -> Verdict:
    """The verdict for an answer that does not have the published form."""
    return Verdict(UNSCORED, reason=f"the judge answered {output.strip()[:80]!r}")
