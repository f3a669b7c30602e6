"""The term on some responses: plain autograd's gradient, and the reference is run on their rows alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pact_plugins import PACTConfig
from pact_plugins.batch.narrowing import narrowed
from pact_plugins.batch.responses import find_responses
from pact_plugins.reference.online import DecoderReference
from pact_plugins.training.preparation import Run, prepare
from tests.helpers.guarded import Batch, gradients_of, refusal_masses, tokens_with_openings, weighted_cross_entropy
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

WEIGHT, TEMPERATURE = 3.0, 2.0


def divergence(model, reference, batch, token_ids, held):
    """Of the tokens of the held rows, KL over the safety tokens alone, at the temperature."""
    total = torch.zeros(())
    for (ids, first), row_is_held in zip(batch.sequences(), held, strict=True):
        places = slice(first - 1, len(ids) - 1)
        own = (model(input_ids=ids[None]).logits[0, places][:, token_ids] / TEMPERATURE).log_softmax(-1)
        with torch.no_grad():
            aligned = reference(input_ids=ids[None]).logits[0, places][:, token_ids] / TEMPERATURE
        aligned = aligned.log_softmax(-1)
        total = total + row_is_held * TEMPERATURE**2 * (aligned.exp() * (aligned - own)).sum()
    return total


@pytest.mark.parametrize("threshold", [0.0001, "between", 0.9999])
@pytest.mark.parametrize("rows", ["refused", "answered"])
def test_gradient_and_what_is_asked(rows, threshold, monkeypatch):
    batch, tokens, aligned = Batch.random(rows=6), tokens_with_openings(), tiny_llama()
    masses = refusal_masses(aligned, batch)
    limit = float(masses.sort().values[2:4].mean()) if threshold == "between" else threshold
    tokens = replace(tokens, settings={**tokens.settings, "refusal_threshold": limit})
    asked, logits = [], DecoderReference.logits

    def noted(self, request):
        asked.append(len(request.decoder_inputs["input_ids"]))
        return logits(self, request)

    model = tiny_llama()
    config = PACTConfig(preset="off", term={"rows": rows, "weight": WEIGHT, "temperature": TEMPERATURE})
    preparation = prepare(model, tiny_tokenizer(), config, Run(safety_tokens=tokens))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    preparation.attachment.attach_to_outputs()
    monkeypatch.setattr(DecoderReference, "logits", noted)
    found = gradients_of(model.train()(**batch.inputs).loss, model)
    preparation.attachment.receipts.settle(loss_scale=1.0, exact=True, suspects="")
    preparation.attachment.detach()

    held = masses > limit if rows == "refused" else masses <= limit
    loss = weighted_cross_entropy(model, batch, torch.ones(6))
    loss = loss + WEIGHT * divergence(model, aligned, batch, tokens.token_ids, held)
    expected = gradients_of(loss / batch.response_tokens, model)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert asked == ([int(held.sum())] if held.any() else [])


@pytest.mark.parametrize(
    ("more", "rows"),
    [
        ({}, 2),
        ({"position_ids": torch.arange(20)[None]}, 2),
        ({"use_cache": False, "inputs_embeds": None}, 2),
        ({"cu_seq_lens": torch.tensor([0, 20])}, 6),
        ({"position_embeddings": (torch.ones(6), torch.ones(6))}, 6),
    ],
    ids=["plain", "shared positions", "switches", "a tensor of other rows", "tensors out of sight"],
)
def test_rows_are_taken_out_where_every_tensor_has_them(more, rows):
    batch = Batch.random(rows=6)
    responses = find_responses(batch.labels)
    tokens = ((responses.on_host[0] == 1) | (responses.on_host[0] == 4)).nonzero()[0]
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, **more}
    chosen, given = narrowed(responses, inputs, tokens)
    states = torch.randn(6, 20, 3)
    kept = states[[1, 4]] if rows == 2 else states
    assert len(given["input_ids"]) == len(given["attention_mask"]) == rows
    torch.testing.assert_close(chosen.select(kept), responses.select(states)[tokens])
    assert chosen.response_index.unique().tolist() == [0, 1]
    assert chosen.token_ids.tolist() == responses.token_ids[tokens].tolist()
