"""Streaming calibration on real models equals the pure functions on stacked logits."""

from __future__ import annotations

import pytest
import torch

from pact_plugins import PACTConfig, SafetyTokens
from pact_plugins.batch.teacher_forcing import Forced, TeacherForced, teacher_force
from pact_plugins.errors import ConfigurationError, PACTError, SafetyTokensError
from pact_plugins.modeling import LiveHead, assistant_header_ids, prompt_ids, response_ids
from pact_plugins.safety_tokens import safety_direction
from pact_plugins.safety_tokens.calibration import score_tokens
from pact_plugins.safety_tokens.recipe import calibrate
from pact_plugins.safety_tokens.scorers import BUILT_IN_SCORERS
from tests.helpers.tiny import REFUSAL_ROWS, save_model, tiny_llama, tiny_tokenizer, write_refusals

SCORERS = {scorer.name: scorer for scorer in BUILT_IN_SCORERS}


def recipe_for(refusals_path, *, objective="match", header=None, **settings):
    return PACTConfig(
        term={"objective": objective},
        reference={"assistant_header": header},
        safety_tokens={"refusals_path": str(refusals_path), "top_k": 30, **settings},
    ).recipe()


@torch.no_grad()
def stacked(model, contexts, responses):
    """(B, R, V) logits and (B, R) mask, one unpadded sequence at a time."""
    width = max(map(len, responses))
    logits, mask = torch.zeros(len(responses), width, 368), torch.zeros(len(responses), width)
    for row, (context, response) in enumerate(zip(contexts, responses, strict=True)):
        own = model(input_ids=torch.tensor([[*context, *response]])).logits[0]
        logits[row, : len(response)] = own[len(context) - 1 : -1]
        mask[row, : len(response)] = 1
    return logits, mask


def expected_direction(aligned, base, contexts, base_contexts, responses, **settings):
    aligned_logits, mask = stacked(aligned, contexts, responses)
    base_logits, _ = stacked(base, base_contexts, responses)
    return safety_direction(aligned_logits, base_logits, mask, **settings)


def views(tokenizer, rows=REFUSAL_ROWS, limit=64):
    responses = [response_ids(tokenizer, row["prompt"], row["response"])[:limit] for row in rows]
    return [prompt_ids(tokenizer, row["prompt"]) for row in rows], responses


def as_vector(tokens):
    direction = torch.zeros(tokens.vocabulary_size)
    direction[tokens.token_ids] = tokens.direction
    return direction


@pytest.mark.parametrize("method", SCORERS)
@pytest.mark.parametrize("limit", [64, 5])
def test_base_contrast_equals_the_pure_functions(tmp_path, tokenizer, refusals_path, method, limit):
    aligned, base = tiny_llama(0), tiny_llama(1)
    path = save_model(tmp_path / "base", base)
    recipe = recipe_for(
        refusals_path,
        base_model_path=path,
        scorer=method,
        exclude_special_tokens=False,
        max_response_tokens=limit,
        top_k=40,
        include_openings=False,
    )
    tokens = calibrate(aligned, tokenizer, recipe, progress=False)
    contexts, responses = views(tokenizer, limit=limit)
    plain = [tokenizer(f"User: {row['prompt']}\n\nAssistant: ")["input_ids"] for row in REFUSAL_ROWS]
    # The eight rows of the embedding beyond the tokenizer are never kept.
    aligned_logits, mask = stacked(aligned, contexts, responses)
    base_logits, _ = stacked(base, plain, responses)
    scores = (
        torch.stack(
            [
                SCORERS[method]
                .score(aligned_logits[row].log_softmax(-1), base_logits[row].log_softmax(-1))[mask[row].bool()]
                .mean(0)
                for row in range(len(responses))
            ]
        )
        .double()
        .mean(0)
        .float()
    )
    from pact_plugins.safety_tokens import direction_from_scores

    probability = torch.stack(
        [aligned_logits[row].softmax(-1)[mask[row].bool()].mean(0) for row in range(len(responses))]
    ).mean(0)
    expected = direction_from_scores(scores, probability, top_k=40, excluded_ids=range(len(tokenizer), 368))
    torch.testing.assert_close(as_vector(tokens), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens.aligned_probability, probability[tokens.token_ids], rtol=1e-4, atol=1e-6)
    assert tokens.settings["contrast"] == path
    assert tokens.settings["refusals"] == len(REFUSAL_ROWS)


@pytest.mark.parametrize("method", SCORERS)
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_streaming_equals_safety_direction_whatever_the_batch_size(tokenizer, method, batch_size):
    model, other = tiny_llama(0), tiny_llama(1)
    contexts, responses = views(tokenizer)
    header = assistant_header_ids(tokenizer)
    expected = expected_direction(model, other, contexts, [header] * len(responses), responses, method=method, top_k=25)

    def view(causal_lm, contexts_of_view):
        sequences = [TeacherForced(*pair) for pair in zip(contexts_of_view, responses, strict=True)]
        return teacher_force(
            causal_lm.model, LiveHead(causal_lm), sequences, batch_size=batch_size, description="", progress=False
        )

    result = score_tokens(
        view(model, contexts), view(other, [header] * len(responses)), SCORERS[method], top_k=25, progress=False
    )
    torch.testing.assert_close(result.direction, expected, rtol=1e-4, atol=1e-5)


def test_long_responses_are_streamed_in_pieces(tokenizer):
    """More positions than are projected at once."""
    model, other = tiny_llama(0), tiny_llama(1)
    generator = torch.Generator().manual_seed(0)
    responses = [torch.randint(5, 360, (length,), generator=generator).tolist() for length in (150, 64, 65, 1)]
    contexts = [prompt_ids(tokenizer, "please help")] * 4

    def view(causal_lm):
        sequences = [TeacherForced(*pair) for pair in zip(contexts, responses, strict=True)]
        return teacher_force(
            causal_lm.model, LiveHead(causal_lm), sequences, batch_size=2, description="", progress=False
        )

    result = score_tokens(view(model), view(other), SCORERS["p_diff"], top_k=25, progress=False)
    expected = expected_direction(model, other, contexts, contexts, responses, top_k=25)
    torch.testing.assert_close(result.direction, expected, rtol=1e-4, atol=1e-5)


def test_base_free_calibration_contrasts_with_the_prompt_left_out(tokenizer, refusals_path):
    model = tiny_llama()
    tokens = calibrate(model, tokenizer, recipe_for(refusals_path), progress=False)
    contexts, responses = views(tokenizer)
    header = [assistant_header_ids(tokenizer)] * len(responses)
    _, mask = stacked(model, contexts, responses)
    without_prompt = stacked(model, header, responses)[0].softmax(-1)
    mean = torch.stack([without_prompt[row][mask[row].bool()].mean(0) for row in range(len(responses))]).mean(0)
    torch.testing.assert_close(tokens.contrast_probability, mean[tokens.token_ids], rtol=1e-4, atol=1e-6)
    assert tokens.settings["contrast"] == "prompt-free"
    assert len(tokens) == 30


def test_the_model_is_left_as_it_was(tokenizer, refusals_path):
    model = tiny_llama().train()
    model.model.layers[1].eval()
    before = [module.training for module in model.modules()], {n: p.clone() for n, p in model.named_parameters()}
    state = torch.get_rng_state()
    calibrate(model, tokenizer, recipe_for(refusals_path), progress=False)
    assert [module.training for module in model.modules()] == before[0]
    assert all(torch.equal(before[1][name], p) for name, p in model.named_parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in model.modules())


def test_dropout_is_off_while_calibrating(tokenizer, refusals_path):
    quiet = calibrate(tiny_llama(), tokenizer, recipe_for(refusals_path), progress=False)
    noisy = calibrate(tiny_llama(attention_dropout=0.5).train(), tokenizer, recipe_for(refusals_path), progress=False)
    assert noisy.fingerprint == quiet.fingerprint


def likely(model, ids):
    """Make ``ids`` by far the most probable tokens everywhere."""
    embedding = model.lm_head
    embedding.bias = torch.nn.Parameter(torch.zeros(368))
    with torch.no_grad():
        embedding.bias[ids] = 100.0
    return model


def test_special_tokens_and_padding_rows_are_left_out(tokenizer, refusals_path):
    special = [*tokenizer.all_special_ids, 365, 367]
    ends = [200, 201]
    model = likely(tiny_llama(), [*special, *ends])
    model.generation_config.eos_token_id = ends
    tokens = calibrate(model, tokenizer, recipe_for(refusals_path), progress=False)
    assert not set(tokens.token_ids.tolist()) & {*special, *ends}
    assert int(tokens.token_ids.max()) < len(tokenizer)
    kept = calibrate(model, tokenizer, recipe_for(refusals_path, exclude_special_tokens=False), progress=False)
    # Ids that no text ever holds stay out whatever is asked for.
    assert set(kept.token_ids.tolist()) & set(special)
    assert not set(kept.token_ids.tolist()) & {365, 367}


def test_max_refusals_and_response_tokens_are_limits(tokenizer, refusals_path):
    tokens = calibrate(tiny_llama(), tokenizer, recipe_for(refusals_path, max_refusals=3), progress=False)
    assert tokens.settings["refusals"] == 3
    short = calibrate(tiny_llama(), tokenizer, recipe_for(refusals_path, max_response_tokens=1), progress=False)
    assert short.fingerprint != tokens.fingerprint


def test_a_plugins_scorer_is_used(tokenizer, refusals_path, monkeypatch):
    from pact_plugins import plugins
    from pact_plugins.contracts import TokenScorer

    known = plugins.token_scorers()
    upside_down = TokenScorer("upside_down", lambda aligned, base: base.exp() - aligned.exp())
    monkeypatch.setattr(plugins, "token_scorers", lambda: {**known, "upside_down": upside_down})
    first = calibrate(tiny_llama(), tokenizer, recipe_for(refusals_path), progress=False)
    second = calibrate(tiny_llama(), tokenizer, recipe_for(refusals_path, scorer="upside_down"), progress=False)
    assert torch.equal(first.token_ids, second.token_ids)
    torch.testing.assert_close(first.direction, -second.direction, rtol=1e-4, atol=1e-5)


def test_a_base_of_another_tokenizer_is_refused(tmp_path, tokenizer, refusals_path):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")))
    path = save_model(tmp_path / "base", tiny_llama(1), other)
    with pytest.raises(SafetyTokensError, match="has another tokenizer") as error:
        calibrate(tiny_llama(), tokenizer, recipe_for(refusals_path, base_model_path=path), progress=False)
    assert path in str(error.value)


def test_a_base_of_another_vocabulary_size_is_refused(tmp_path, tokenizer, refusals_path):
    path = save_model(tmp_path / "base", tiny_llama(1, vocab_size=376))
    with pytest.raises(SafetyTokensError, match="368 output tokens and the base model 376"):
        calibrate(tiny_llama(), tokenizer, recipe_for(refusals_path, base_model_path=path), progress=False)


def test_a_base_that_does_not_exist_is_named(tmp_path, tokenizer, refusals_path):
    path = str(tmp_path / "nowhere")
    with pytest.raises(PACTError, match=r"base_model_path.*nowhere"):
        calibrate(tiny_llama(), tokenizer, recipe_for(refusals_path, base_model_path=path), progress=False)


def test_the_aligned_model_is_freed_before_the_base_is_loaded(tmp_path, tokenizer, refusals_path):
    path = save_model(tmp_path / "base", tiny_llama(1))
    recipe = recipe_for(refusals_path, base_model_path=path)
    kept = calibrate(tiny_llama(), tokenizer, recipe, progress=False)
    model = tiny_llama()
    freed = calibrate(model, tokenizer, recipe, release_model=True, progress=False)
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert freed.fingerprint == kept.fingerprint


def test_no_response_is_an_error():
    model = tiny_llama()
    with pytest.raises(SafetyTokensError, match="empty"):
        teacher_force(
            model.model,
            LiveHead(model),
            [TeacherForced([5, 6], [])],
            batch_size=1,
            description="",
            progress=False,
        )


def test_sequences_without_a_response_are_left_out_of_the_mean(tokenizer):
    model = tiny_llama()
    contexts, responses = views(tokenizer)

    def score(pairs):
        sequences = [TeacherForced(*pair) for pair in pairs]
        forced = teacher_force(model.model, LiveHead(model), sequences, batch_size=4, description="", progress=False)
        contrast = Forced([states.flip(-1) for states in forced.hidden_states], forced.head)
        return score_tokens(forced, contrast, SCORERS["p_diff"], top_k=20, progress=False).direction

    pairs = list(zip(contexts, responses, strict=True))
    torch.testing.assert_close(score([*pairs, (contexts[0], [])]), score(pairs))


def test_a_template_without_a_generation_prompt(refusals_path):
    template = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    tokenizer = tiny_tokenizer(template)
    tokens = calibrate(tiny_llama(), tokenizer, recipe_for(refusals_path), progress=False)
    assert isinstance(tokens, SafetyTokens)
    # The published objective reads the weights, and these the contrast.
    with pytest.raises(ConfigurationError, match="assistant_header"):
        calibrate(tiny_llama(), tokenizer, recipe_for(refusals_path, objective="published"), progress=False)
    recipe = recipe_for(refusals_path, objective="published", header="<|assistant|>")
    calibrate(tiny_llama(), tokenizer, recipe, progress=False)


def test_no_chat_template_is_refused(refusals_path):
    with pytest.raises(ConfigurationError, match="no chat template"):
        calibrate(tiny_llama(), tiny_tokenizer(None), recipe_for(refusals_path), progress=False)


def test_a_different_order_of_the_refusals_changes_nothing(tmp_path, tokenizer):
    first = write_refusals(tmp_path / "first.jsonl")
    second = write_refusals(tmp_path / "second.jsonl", REFUSAL_ROWS[::-1])
    directions = [
        as_vector(calibrate(tiny_llama(), tokenizer, recipe_for(path), progress=False)) for path in (first, second)
    ]
    torch.testing.assert_close(*directions, rtol=1e-4, atol=1e-5)
