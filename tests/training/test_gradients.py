"""A whole step through the real trainer equals an independent computation with plain autograd."""

from __future__ import annotations

import pytest
import torch

from pact_plugins.modeling import assistant_header_ids
from tests.helpers import matrix, naive
from tests.helpers.tiny import tiny_llama, tiny_safety_tokens, tiny_tokenizer
from tests.helpers.trainers import ADAPTERS, Watch, lora, pact, rows, sft_trainer

pytestmark = pytest.mark.framework


def one_step(output, *, adapter=None, config=None, make_model=tiny_llama, callback=None, **settings):
    """Train one step after moving the weights; return trainer and watch."""
    watch = Watch(move=True)
    callback = callback or pact(config)
    trainer = sft_trainer(output, model=make_model(), adapter=adapter, callbacks=[callback, watch], **settings)
    trainer.train()
    return trainer, watch


def expected_step(trainer, watch, *, adapter, objective, weight, make_model=tiny_llama):
    tokens = tiny_safety_tokens()
    return naive.step(
        naive.rebuilt(make_model(), adapter, watch.weights[0]),
        make_model(),
        trainer.micro_batches,
        objective=objective,
        weight=weight,
        token_ids=tokens.token_ids,
        weights=tokens.weights,
        header=assistant_header_ids(tiny_tokenizer()),
    )


def assert_same_gradients(found, expected, *, tolerance=1e-5):
    assert found.keys() == expected.keys()
    assert found
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=tolerance, atol=tolerance * max(1.0, float(gradient.abs().max())), msg=name
        )


OBJECTIVES = ["match", "published", "published_positive", "full_kl"]


@pytest.mark.parametrize("objective", matrix.rows(OBJECTIVES, always=("match", "published")))
@pytest.mark.parametrize("kind", ADAPTERS)
def test_step_equals_plain_autograd(tmp_path, objective, kind):
    adapter = ADAPTERS[kind]()
    config = {"preset": "match", "term": {"objective": objective, "weight": 1.5}}
    trainer, watch = one_step(tmp_path, adapter=adapter, config=config, gradient_accumulation_steps=2)
    assert len(trainer.micro_batches) == 2
    cross_entropy, term, gradients = expected_step(trainer, watch, adapter=adapter, objective=objective, weight=1.5)
    assert_same_gradients(watch.gradients[0], gradients)
    log = watch.losses[0]
    assert term > 1e-3
    assert log["pact/kl"] == pytest.approx(float(term), rel=1e-4)
    assert log["pact/loss"] == pytest.approx(1.5 * float(term), rel=1e-4)
    assert log["loss"] == pytest.approx(float(cross_entropy + 1.5 * term), rel=1e-4)
    # The term is no small part of the gradient, so that the comparison means something.
    _, _, without = expected_step(trainer, watch, adapter=adapter, objective=objective, weight=0)
    assert max(float((gradients[name] - without[name]).abs().max()) for name in gradients) > 1e-2


def tied_llama():
    return tiny_llama(tie_word_embeddings=True)


def biased_llama():
    return tiny_llama(attention_bias=True, mlp_bias=True)


@pytest.mark.parametrize(
    ("make_model", "adapter"),
    [
        pytest.param(tied_llama, None, id="tied, full"),
        pytest.param(tied_llama, lora(), id="tied, lora", marks=pytest.mark.matrix),
        pytest.param(tiny_llama, lora(modules_to_save=["lm_head"]), id="lm_head saved"),
        pytest.param(tiny_llama, lora(use_dora=True), id="dora", marks=pytest.mark.matrix),
        pytest.param(biased_llama, None, id="biases, full"),
    ],
)
def test_step_equals_plain_autograd_where_the_rows_of_s_may_move(tmp_path, make_model, adapter):
    trainer, watch = one_step(tmp_path, adapter=adapter, make_model=make_model)
    _, term, gradients = expected_step(
        trainer,
        watch,
        adapter=adapter,
        objective="match",
        weight=2.0,
        make_model=make_model,
    )
    assert term > 1e-3
    assert_same_gradients(watch.gradients[0], gradients)


GENERATION_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@pytest.mark.parametrize("packing", matrix.rows([False, True], always=[True]))
def test_several_responses_in_a_row_are_several_responses(tmp_path, monkeypatch, packing):
    conversations = [
        {"messages": [*first["prompt"], *first["completion"], *second["prompt"], *second["completion"]]}
        for first, second in zip(rows(8), rows(8, seed=1), strict=True)
    ]
    monkeypatch.setattr("tests.helpers.trainers.tiny_tokenizer", lambda: tiny_tokenizer(GENERATION_TEMPLATE))
    config = {"preset": "match", "term": {"objective": "published", "weight": 1.0}}
    trainer, watch = one_step(
        tmp_path, config=config, train_rows=conversations, assistant_only_loss=True, packing=packing, max_length=256
    )
    spans = [len(naive.responses(labels)) for _, labels in naive.sequences(trainer.micro_batches)]
    assert set(spans) == {2}
    _, _, gradients = expected_step(trainer, watch, adapter=None, objective="published", weight=1.0)
    assert_same_gradients(watch.gradients[0], gradients)


@pytest.mark.parametrize("objective", matrix.rows(["match", "published"], always=["published"]))
def test_accumulation_changes_nothing(tmp_path, objective):
    config = {"preset": "match", "term": {"objective": objective, "weight": 1.0}}
    results = []
    for batch, accumulation in ((8, 1), (1, 8), (4, 2)):
        trainer, watch = one_step(
            tmp_path, config=config, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation
        )
        assert len(trainer.micro_batches) == accumulation
        results.append((watch.gradients[0], watch.losses[0]))
    for gradients, log in results[1:]:
        assert_same_gradients(gradients, results[0][0])
        for key in ("loss", "pact/kl", "pact/loss"):
            assert log[key] == pytest.approx(results[0][1][key], rel=1e-4)


@pytest.mark.parametrize("objective", matrix.rows(["match", "published"], always=["match"]))
def test_packing_changes_nothing(tmp_path, objective):
    config = {"preset": "match", "term": {"objective": objective, "weight": 1.0}}
    apart, expected = one_step(tmp_path, config=config, adapter=lora(), per_device_train_batch_size=8)
    packed, found = one_step(
        tmp_path, config=config, adapter=lora(), packing=True, max_length=512, per_device_train_batch_size=1
    )
    assert packed.micro_batches[0]["input_ids"].size(0) == 1
    assert len(naive.sequences(packed.micro_batches)) == 8
    assert len(naive.sequences(apart.micro_batches)) == 8
    assert_same_gradients(found.gradients[0], expected.gradients[0])
    assert found.losses[0]["pact/kl"] == pytest.approx(expected.losses[0]["pact/kl"], rel=1e-4)


@pytest.mark.matrix
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("kind", ADAPTERS)
def test_gradient_checkpointing_changes_nothing(tmp_path, kind, reentrant):
    _, expected = one_step(tmp_path, adapter=ADAPTERS[kind]())
    _, found = one_step(
        tmp_path,
        adapter=ADAPTERS[kind](),
        gradient_checkpointing=True,
        gradient_checkpointing_kwargs={"use_reentrant": reentrant},
    )
    assert_same_gradients(found.gradients[0], expected.gradients[0])


@pytest.mark.parametrize("accumulation", matrix.rows([1, 2], always=[2]))
def test_compute_loss_route_with_label_smoothing_equals_plain_autograd(tmp_path, accumulation):
    smoothing = {"label_smoothing_factor": 0.1, "gradient_accumulation_steps": accumulation}
    watch = Watch(move=True)
    plain = sft_trainer(tmp_path, callbacks=[watch], **smoothing)
    plain.train()

    protected_watch = Watch(move=True)
    protected = sft_trainer(tmp_path, callbacks=[protected_watch], **smoothing)
    original = protected.compute_loss
    callback = pact({"preset": "match", "term": {"weight": 1.5}}, trainer=protected)
    protected.add_callback(callback)
    # The callback that moves the weights must still come after ours has copied the reference.
    protected.remove_callback(protected_watch)
    protected.add_callback(protected_watch)
    protected.train()
    assert protected.compute_loss == original

    _, term, with_term = expected_step(protected, protected_watch, adapter=None, objective="match", weight=1.5)
    _, _, without = expected_step(protected, protected_watch, adapter=None, objective="match", weight=0)
    added = {name: protected_watch.gradients[0][name] - watch.gradients[0][name] for name in with_term}
    assert_same_gradients(added, {name: with_term[name] - without[name] for name in with_term})
    assert protected_watch.losses[0]["pact/kl"] == pytest.approx(float(term), rel=1e-4)
    assert protected_watch.losses[0]["loss"] - watch.losses[0]["loss"] == pytest.approx(1.5 * float(term), rel=1e-3)
