"""The one question to the reference for all parts of the loss, and each part's own answer out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy
import torch
from torch import Tensor

from pact_plugins.batch.host import Array
from pact_plugins.batch.micro_batch import MicroBatch
from pact_plugins.batch.narrowing import narrowed, spread
from pact_plugins.batch.openings import Openings, RefusalCriterion
from pact_plugins.batch.responses import without_prompt
from pact_plugins.contracts import Answer, Needs, Part, Reference, ReferenceLogits, ReferenceRequest, SafetyTokens
from pact_plugins.conversation import ChatQuestion
from pact_plugins.modeling import assistant_header_ids
from pact_plugins.reference.masses import RefusalMasses


@dataclass(frozen=True)
class Asked:
    """What the parts of a run need, together.

    Attributes:
        needs: of each part, by its name.
        tokens: the safety tokens; None where no part needs any.
        device: where the decoder starts.
        question: how requests are put to the reference that the chat template has not rendered; see ``RowsSeen``.
    """

    needs: Mapping[str, Needs]
    tokens: SafetyTokens | None
    device: torch.device
    question: ChatQuestion | None = None

    @property
    def anything(self) -> bool:
        """Whether the reference has to be asked at all."""
        return any(needs.asks_reference for needs in self.needs.values())

    @property
    def logits(self) -> bool:
        """Whether the reference is asked for logits in every micro-batch."""
        return any(needs.asks_logits for needs in self.needs.values())

    @cached_property
    def token_ids(self) -> Tensor | None:
        """(K,) int64 whose logits are asked for, each once; None for the whole vocabulary."""
        if self.tokens is None or any(needs.whole_vocabulary for needs in self.needs.values()):
            return None
        chosen = [ids for name in self.needs if (ids := self.of_part(name)) is not None]
        if not chosen:
            # Nobody asks for logits: those of one token keep the answer small.
            return self.tokens.token_ids[:1].to(self.device)
        first = chosen[0]
        same = all(torch.equal(first, ids) for ids in chosen)
        return first if same else torch.cat(chosen).unique(sorted=True)

    def of_part(self, name: str) -> Tensor | None:
        """The tokens that a part chose; None for none, or the whole vocabulary."""
        needs = self.needs[name]
        if needs.logits is None or needs.whole_vocabulary or self.tokens is None:
            return None
        return needs.logits(self.tokens).to(self.device)

    @cached_property
    def refusals(self) -> RefusalCriterion | None:
        """What counts as a refusal, and above which mass every part wants it exact; None where none asks."""
        asking = [needs for needs in self.needs.values() if needs.refusal_mass]
        if not asking or self.tokens is None:
            return None
        bounds = [0.0 if needs.exact_above is None else needs.exact_above(self.tokens) for needs in asking]
        return RefusalCriterion(Openings(self.tokens.refusal_openings), min(bounds), self.question)

    def header_ids(self, tokenizer: Any, header: str | None) -> list[int] | None:
        """The assistant header of a prompt-free context, where a part asks for one."""
        if not any(needs.prompt_free for needs in self.needs.values()):
            return None
        return assistant_header_ids(tokenizer, header)


class Interview:
    """Asks the reference once per micro-batch.

    Args:
        reference: None where nothing is asked.
        header_ids: of ``asked``.
        masses: the refusal masses, which are remembered; None where no part asks for any.
    """

    def __init__(
        self,
        asked: Asked,
        reference: Reference | None,
        header_ids: Sequence[int] | None,
        masses: RefusalMasses | None = None,
    ) -> None:
        self._asked, self._reference, self._header_ids = asked, reference, header_ids
        self._masses = masses
        self._columns = {name: self._columns_of(name) for name in asked.needs}

    def _columns_of(self, name: str) -> Tensor | None:
        """Where a part's tokens stand among those asked for; None where they are all of them, in that order."""
        own, every = self._asked.of_part(name), self._asked.token_ids
        if own is None or every is None or torch.equal(own, every):
            return None if every is not None else own
        return torch.searchsorted(every, own)

    def answers(self, parts: Sequence[Part], batch: MicroBatch) -> dict[str, Answer]:
        """By the name of each part, what it needs and nothing else."""
        needs = self._asked.needs
        refusals = None if self._masses is None else _of_requests(self._masses.of(batch), batch)
        if self._reference is None or not self._asked.logits:
            return {part.name: Answer(refusal_mass=self._refusals_for(part.name, refusals)) for part in parts}
        measured = {part.name: part.measured(batch) if needs[part.name].measured else None for part in parts}
        wanted = [indices for indices in measured.values() if indices is not None]
        request = ReferenceRequest(
            batch.inputs,
            batch.responses,
            self._asked.token_ids,
            self._header_ids,
            batch.autocast,
            torch.cat(wanted) if wanted else None,
        )
        found = self._logits(self._reference, request, refusals)
        answers, begin = {}, 0
        for name, indices in measured.items():
            end = begin + (0 if indices is None else len(indices))
            answer = self._answer(name, found, None if indices is None else (indices, slice(begin, end)))
            answers[name] = replace(answer, refusal_mass=self._refusals_for(name, refusals))
            begin = end
        return answers

    def _logits(self, reference: Reference, request: ReferenceRequest, refusals: Tensor | None) -> ReferenceLogits:
        """Of the responses in which they are wanted, zeros in the others."""
        wanted = self._wanted(refusals)
        # A pass over sharded parameters takes all ranks, whatever their rows hold.
        if wanted is None or (self._masses is not None and self._masses.together):
            return reference.logits(request)
        tokens = wanted[request.responses.on_host[3]].nonzero()[0]
        count, ids = len(request.responses), request.token_ids
        if not len(tokens) and ids is not None:
            nothing = torch.zeros(count, len(ids), device=ids.device)
            return ReferenceLogits(nothing, None if request.header_ids is None else nothing, None)
        if len(tokens) in (0, count):
            return reference.logits(request)
        responses, inputs = narrowed(request.responses, request.decoder_inputs, tokens)
        found = reference.logits(replace(request, responses=responses, decoder_inputs=inputs, measured=None))
        prompt_free = None if found.prompt_free is None else spread(found.prompt_free, tokens, count)
        return ReferenceLogits(spread(found.full, tokens, count), prompt_free, None)

    def _wanted(self, refusals: Tensor | None) -> Array | None:
        """(number of responses,) bool: in which of them some part wants logits; None for all."""
        kinds = {needs.logits_in for needs in self._asked.needs.values() if needs.asks_logits}
        if len(kinds) > 1 or "all" in kinds or refusals is None or self._asked.tokens is None:
            return None
        refused = numpy.asarray(refusals > self._asked.tokens.refusal_threshold)
        return refused if "refused" in kinds else ~refused

    def _answer(self, name: str, found: ReferenceLogits, measured: tuple[Tensor, slice] | None) -> Answer:
        needs = self._asked.needs[name]
        gives = needs.logits is not None or needs.whole_vocabulary
        logits = self._chosen(name, found.full) if gives else None
        prompt_free = None
        if gives and needs.prompt_free and found.prompt_free is not None:
            prompt_free = self._chosen(name, found.prompt_free)
        mass = None
        if measured is not None and logits is not None and found.normaliser is not None:
            indices, own = measured
            mass = (logits[indices.to(logits.device)] - found.normaliser[own, None]).exp().sum(dim=-1)
        return Answer(logits, prompt_free, mass)

    def _refusals_for(self, name: str, refusals: Tensor | None) -> Tensor | None:
        return refusals if self._asked.needs[name].refusal_mass else None

    def _chosen(self, name: str, logits: Tensor) -> Tensor:
        columns = self._columns[name]
        return logits if columns is None else logits[:, columns.to(logits.device)]


def _of_requests(masses: Tensor, batch: MicroBatch) -> Tensor:
    """What follows no prompt answers none, and refuses none."""
    alone = without_prompt(batch.responses, batch.inputs.get("position_ids"))
    return masses.masked_fill(torch.from_numpy(alone).to(masses.device), 0.0)
