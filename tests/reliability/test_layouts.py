"""Whatever the layout of a batch, every objective gives what one token at a time gives, values and gradients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pact_plugins import SafetyTokens, plugins
from pact_plugins.batch.micro_batch import MicroBatch, StepIndex
from pact_plugins.batch.responses import find_responses
from pact_plugins.contracts import Answer, MixtureSettings
from pact_plugins.modeling import AutocastState, LiveHead
from pact_plugins.reference.online import DecoderReference
from pact_plugins.term.part import Term
from pact_plugins.term.settings import TermSettings, needs
from pact_plugins.training.asking import Asked, Interview
from pact_plugins.training.denominator import Division, Share
from pact_plugins.training.loss_terms import LossTerms
from pact_plugins.training.metrics import MetricMeans
from pact_plugins.training.receipts import Receipts
from tests.helpers.guarded import part_context
from tests.helpers.tiny import tiny_llama
from tests.reliability.counts import record
from tests.reliability.layouts import Layout, layouts
from tests.reliability.slow_term import REFERENCE, TokenInputs, coefficient

NO_AUTOCAST = AutocastState("cpu", False, torch.bfloat16)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FEW, MANY, MODELS = 20, 1000, 300

gates = st.builds(
    MixtureSettings,
    top_p=st.floats(0.1, 0.95),
    alpha=st.floats(0, 20),
    bias=st.floats(-1, 1),
    temperature=st.floats(0.2, 5),
    prefix_tokens=st.integers(0, 4),
    decay_tau=st.sampled_from((0.0, 0.5, 8.0)),
    boost=st.sampled_from((0.0, 0.5, 1.0)),
)


def examples(count: int) -> Callable[[Any], Any]:
    """That many, the same ones every time: a failure in a pipeline is one at the desk."""
    phases = (Phase.explicit, Phase.generate, Phase.shrink)
    return settings(
        max_examples=count, deadline=None, derandomize=True, database=None, phases=phases,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def drawn(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


@cache
def headed(vocabulary: int, dtype: torch.dtype) -> Any:
    return tiny_llama(seed=3, vocab_size=vocabulary, hidden_size=8, num_hidden_layers=1, num_attention_heads=2).to(
        dtype
    )


def safety_tokens(ids: Tensor, weights: Tensor, vocabulary: int) -> SafetyTokens:
    return SafetyTokens(ids, weights, weights, weights, ("",) * len(ids), "", vocabulary)


def part_of(settings: TermSettings, head: LiveHead, tokens: SafetyTokens) -> Term:
    ids = None if settings.spec.full_vocabulary else tokens.token_ids
    return Term(part_context(settings, None, head=head, safety_tokens=tokens, token_ids=ids))


def settings_of(objective: str, **keys: Any) -> TermSettings:
    spec = plugins.objectives()[objective]
    read = {key: value for key, value in keys.items() if key in spec.reads}
    return TermSettings(objective=objective, weight=1.0, **read)


def check_places(layout: Layout) -> None:
    _, labels, _, positions = layout.tensors()
    found = find_responses(labels, positions)
    columns = [
        (found.rows, "row"), (found.columns + 1, "column"), (found.positions, "position"),
        (found.response_index, "response"), (found.token_ids, "index"),
    ]  # fmt: skip
    for values, name in columns:
        assert values.tolist() == [getattr(place, name) for place in layout.places()], name


def test_every_objective_has_a_slow_twin():
    # That of log_odds, which asks where a reply begins, stands in tests/term/test_log_odds.py.
    assert set(plugins.objectives()) == {*REFERENCE, "log_odds"}


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    """A layout, and random states, logits, tokens, weights and settings around it."""
    vocabulary = draw(st.sampled_from((360, 368, 384)))
    tokens = sorted(draw(st.sets(st.integers(0, vocabulary - 1), min_size=2, max_size=20)))
    weights = torch.tensor([draw(st.sampled_from((-0.5, 0.0, 0.1, 0.7))) for _ in tokens])
    weights[draw(st.integers(0, len(tokens) - 1))] = 0.4
    return {
        "layout": draw(layouts()),
        "vocabulary": vocabulary,
        "tokens": torch.tensor(tokens),
        "weights": weights,
        "dtype": draw(st.sampled_from(DTYPES)),
        "temperature": draw(st.sampled_from((0.5, 1.0, 2.0, 7.0))),
        "gate": draw(gates),
        "scale": draw(st.sampled_from((0.0, 1.0, 3.0, 30.0))),
        "seed": draw(st.integers(0, 10_000)),
        "same": draw(st.booleans()),
    }


def check_objective(objective: str, problem: dict[str, Any]) -> int:
    """Compare one objective on one layout; the number of tokens compared."""
    layout, dtype = problem["layout"], problem["dtype"]
    _, labels, _, positions = layout.tensors()
    model = headed(problem["vocabulary"], dtype)
    head, weight = LiveHead(model), model.get_output_embeddings().weight
    weight.grad = None
    states = drawn(problem["seed"], *labels.shape, 8, scale=problem["scale"]).to(dtype).requires_grad_()
    settings = settings_of(objective, temperature=problem["temperature"], mixture=problem["gate"])
    term = part_of(settings, head, safety_tokens(problem["tokens"], problem["weights"], problem["vocabulary"]))
    whole = plugins.objectives()[objective].full_vocabulary
    chosen = torch.arange(problem["vocabulary"]) if whole else problem["tokens"]
    batch = MicroBatch(labels, {"position_ids": positions}, states, NO_AUTOCAST, StepIndex(0), measure=False)
    count = len(batch.responses)
    own = head.logits(batch.states, None if whole else chosen).detach()
    full = own if problem["same"] else drawn(problem["seed"] + 1, count, len(chosen), scale=problem["scale"] + 0.1)
    prompt_free = drawn(problem["seed"] + 2, count, len(chosen), scale=problem["scale"] + 0.1)
    values = term.loss_term(batch, Answer(full, prompt_free)).values
    assert values is not None
    assert values.shape == (count,)
    factors = drawn(problem["seed"] + 3, count)
    (values * factors).sum().backward()

    # In float64, from the very numbers that the term was given.
    exact, rows = states.detach().double().requires_grad_(), weight.detach()[chosen].double().requires_grad_()
    expected, kept = [], []
    for number, place in enumerate(layout.places()):
        z = rows @ exact[place.row, place.column - 1]
        token = TokenInputs(
            z, full[number].double(), prompt_free[number].double(), problem["weights"].double(), place.position,
            place.index, problem["temperature"], problem["gate"],
        )  # fmt: skip
        # Where a count is on the edge, float32 may fall on the other side of it.
        kept.append(not (objective.startswith("published") and coefficient(token)[1]))
        expected.append(REFERENCE[objective](token))
    if not all(kept) or not expected:
        return 0
    wanted = torch.stack(expected)
    (wanted * factors.double()).sum().backward()
    # The logits of the whole vocabulary are computed in the weights' own dtype, as the model's are.
    rounding = torch.finfo(dtype).eps if whole else torch.finfo(torch.float32).eps
    size = 1 + float(own.abs().max()) + float(full.abs().max()) + float(prompt_free.abs().max())
    slack = 60 * rounding * size * max(1.0, problem["temperature"]) * (size if objective != "match" else 1.0)
    assert float((values.detach().double() - wanted.detach()).abs().max()) <= slack + 1e-6
    operands = 1 + float(exact.detach().abs().max()) + float(rows.detach().abs().max())
    for name, found, exact_gradient in (
        ("states", states.grad, exact.grad),
        ("head", dense(weight.grad)[chosen], rows.grad),
    ):
        assert found is not None, name
        assert exact_gradient is not None, name
        largest = float(exact_gradient.abs().max())
        limit = 8 * torch.finfo(dtype).eps * largest + slack * operands
        assert float((found.double() - exact_gradient).abs().max()) <= limit, name
    return count


def dense(gradient: Tensor) -> Tensor:
    return gradient.to_dense() if gradient.is_sparse else gradient


def search(count: int) -> Counter[str]:
    seen: Counter[str] = Counter()

    @examples(count)
    @given(problems())
    def run(problem: dict[str, Any]) -> None:
        check_places(problem["layout"])
        seen["layouts"] += 1
        for objective in REFERENCE:
            compared = check_objective(objective, problem)
            seen["objectives"] += bool(compared)
            seen["tokens"] += compared

    run()
    return seen


def test_a_few_layouts():
    assert search(FEW)["tokens"] > 0


@pytest.mark.reliability
def test_many_layouts():
    seen = search(MANY)
    assert seen["layouts"] >= MANY
    record("layouts", **seen)


@cache
def pair() -> tuple[Any, Any, Any, Any]:
    """The trained model and the reference, and both in float64."""
    trained, reference = tiny_llama(seed=1), tiny_llama(seed=2)
    return trained, reference, tiny_llama(seed=1).double(), tiny_llama(seed=2).double()


HEADER = [3, 7]


def runnable(layout: Layout) -> dict[str, Tensor]:
    """What a trainer gives the model: a mask where rows are padded, positions where they are packed."""
    ids, _, mask, positions = layout.tensors()
    if layout.is_packed:
        assert positions is not None
        same = mask[:, None, :, None] == mask[:, None, None, :]
        causal = torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool).tril()
        return {"input_ids": ids, "position_ids": positions, "attention_mask": same & causal}
    inputs = {"input_ids": ids, "attention_mask": (mask > 0).long()}
    return inputs if positions is None else {**inputs, "position_ids": positions}


def check_models(objective: str, layout: Layout, gate: MixtureSettings) -> int:
    """The whole way from ids to gradients, against each sequence alone in float64."""
    trained, reference, exact, exact_reference = pair()
    inputs = runnable(layout)
    _, labels, _, _ = layout.tensors()
    tokens = torch.tensor([0, 9, 44, 120, 333, 367])
    weights = torch.tensor([0.5, -0.2, 0.4, 0.0, 0.3, 0.9])
    head = LiveHead(trained)
    settings, known = settings_of(objective, mixture=gate), safety_tokens(tokens, weights, 368)
    term = part_of(settings, head, known)
    whole = plugins.objectives()[objective].full_vocabulary
    asked = Asked({"term": needs(settings)}, known, torch.device("cpu"))
    online = DecoderReference(reference.model, LiveHead(reference))
    parts = LossTerms([term], Interview(asked, online, HEADER))
    trained.zero_grad(), exact.zero_grad()
    states = trained.model(**inputs, use_cache=False)[0]
    batch = MicroBatch(labels, inputs, states, NO_AUTOCAST, StepIndex(0), measure=False)
    addition = parts(batch, Share(Division.ALL, False, 1.0, 1), MetricMeans(), Receipts(parts.parts))
    assert addition is not None
    addition.values.sum().backward()

    places, expected = layout.places(), []
    for number, place in enumerate(places):
        ids, at = alone(layout, place.row, place.column)
        chosen = torch.arange(368) if whole else tokens
        answer = [one.index for one in places[: number + 1] if one.response == place.response]
        context = torch.tensor([[*HEADER, *answer[:-1]]])
        with torch.no_grad():
            full = exact_reference(ids).logits[0, at - 1, chosen]
            prompt_free = exact_reference(context).logits[0, -1, chosen]
        z = exact(ids).logits[0, at - 1, chosen]
        token = TokenInputs(z, full, prompt_free, weights.double(), place.position, place.index, 2.0, gate)
        if objective.startswith("published") and coefficient(token)[1]:
            return 0
        expected.append(REFERENCE[objective](token))
    if not expected:
        assert addition.values.numel() == 0
        return 0
    torch.stack(expected).sum().backward()
    torch.testing.assert_close(addition.values.double(), torch.stack(expected), rtol=2e-4, atol=2e-4)
    for (name, one), other in zip(trained.named_parameters(), exact.parameters(), strict=True):
        if other.grad is None or not other.grad.abs().max():
            continue
        assert one.grad is not None, name
        error = (dense(one.grad).double() - other.grad).abs().max()
        assert float(error) <= 5e-4 * float(other.grad.abs().max()) + 1e-5, name
    return len(places)


def alone(layout: Layout, row: int, column: int) -> tuple[Tensor, int]:
    """The sequence that a column belongs to, by itself, and the column's place in it."""
    begin = layout.left[row]
    for sequence in layout.rows[row]:
        if column < begin + len(sequence):
            return torch.tensor([[token.index for token in sequence]]), column - begin
        begin += len(sequence)
    raise AssertionError("padding is never labelled")


def search_models(count: int) -> Counter[str]:
    seen: Counter[str] = Counter()
    packed = layouts(rows=3, packed=3).filter(lambda layout: layout.positions != "none")

    @examples(count)
    @given(st.one_of(layouts(rows=3, packed=1), packed), gates, st.sampled_from(sorted(REFERENCE)))
    def run(layout: Layout, gate: MixtureSettings, objective: str) -> None:
        if layout.positions == "none" and any(layout.left):
            layout = Layout(layout.rows, tuple(0 for _ in layout.left), layout.width, "none")
        seen["layouts"] += 1
        seen["tokens"] += check_models(objective, layout, gate)

    run()
    return seen


def test_a_few_layouts_through_models():
    assert search_models(FEW)["tokens"] > 0


@pytest.mark.reliability
def test_many_layouts_through_models():
    seen = search_models(MODELS)
    assert seen["layouts"] >= MODELS
    record("layouts through models", **seen)
