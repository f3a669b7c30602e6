"""Replies in the trainer's own forward pass: the gradients of a pass of their own, at next to no price."""

from __future__ import annotations

import pytest
import torch
from trl import SFTTrainer

from pact_plugins.batch.joined import joined, seats
from pact_plugins.batch.teacher_forcing import TeacherForced
from pact_plugins.training import joining
from tests.helpers.guarded import tokens_with_openings
from tests.helpers.launches import counted_launches
from tests.helpers.tiny import tiny_llama
from tests.helpers.trainers import ADAPTERS, Watch, pact, rows, sft_trainer

pytestmark = pytest.mark.framework
ANCHOR = {"preset": "off", "anchor": {"replies": 8, "share": 0.5, "max_new_tokens": 5}, "reference": {"check_every": 0}}
GATE_AND_ANCHOR = {
    "preset": "gate_anchor",
    "anchor": {"replies": 8, "max_new_tokens": 5},
    "reference": {"check_every": 0},
    "drift_watch": False,
}
ALWAYS, NEVER = 10**9, -(10**9)


LONG_ROWS = [
    {**row, "completion": [{"role": "assistant", "content": " ".join([row["completion"][0]["content"]] * 20)}]}
    for row in rows(32)
]


class Plain(SFTTrainer):
    """Leaves the loss to the model."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs, num_items_in_batch=num_items_in_batch)
        return (outputs.loss, outputs) if return_outputs else outputs.loss


class Widths:
    """The shapes that reach the first layer of the decoder."""

    def __init__(self, model):
        self.seen = []
        model.model.layers[0].register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, _module, args, kwargs):
        states = args[0] if args else kwargs["hidden_states"]
        if torch.is_grad_enabled():
            self.seen.append(tuple(states.shape[:2]))


def a_run(folder, config, worth, monkeypatch, *, adapter=None, outside=False, callbacks=(), model=None, **settings):
    """Weights that have moved and stand still: gradients and log of each step, shapes of its passes."""
    monkeypatch.setitem(joining._PASS_IN_TOKENS, "cpu", worth)
    model, watch = model or tiny_llama(), Watch(move=True)
    widths = Widths(model)
    trainer = sft_trainer(
        folder, model=model, adapter=adapter, **{"max_steps": 2, "learning_rate": 0.0, "max_length": 64, **settings}
    )
    if config is not None:
        given = {"safety_tokens": tokens_with_openings()}
        trainer.add_callback(pact(config, trainer=trainer if outside else None, **given))
    for callback in [watch, *callbacks]:
        trainer.add_callback(callback)
    trainer.train()
    return watch, widths.seen, [entry for entry in trainer.state.log_history if "loss" in entry]


CASES = [
    pytest.param({}, id="padded"),
    pytest.param({"gradient_accumulation_steps": 4, "per_device_train_batch_size": 1}, id="accumulated"),
    pytest.param({"packing": True}, id="packed"),
    pytest.param({"padding_free": True, "max_length": None}, id="padding-free"),
    pytest.param({"gradient_checkpointing": True}, id="checkpointing"),
    pytest.param({"trainer_class": Plain}, id="the model's loss"),
    pytest.param({"label_smoothing_factor": 0.1}, id="a loss of the trainer's own"),
]


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("settings", CASES)
def test_gradients_and_metrics_are_those_of_a_pass_of_their_own(tmp_path, monkeypatch, caplog, settings, kind):
    outside = "label_smoothing_factor" in settings
    adapter = ADAPTERS[kind]
    with caplog.at_level("INFO", logger="pact_plugins"):
        found, shapes, log = a_run(
            tmp_path / "a", ANCHOR, ALWAYS, monkeypatch, adapter=adapter(), outside=outside, **settings
        )
    assert "join the trainer's own forward pass" in caplog.text
    own, more_shapes, own_log = a_run(
        tmp_path / "b", ANCHOR, NEVER, monkeypatch, adapter=adapter(), outside=outside, **settings
    )
    assert len(shapes) == 2 * settings.get("gradient_accumulation_steps", 1)
    assert len(more_shapes) == len(shapes) + 2
    for step, gradients in enumerate(own.gradients):
        largest = max(float(value.abs().max()) for value in gradients.values())
        for name, value in gradients.items():
            assert float((found.gradients[step][name] - value).abs().max()) < 2e-6 * max(1, largest), name
    for entry, other in zip(log, own_log, strict=True):
        for key in ("loss", "entropy", "mean_token_accuracy", "num_tokens", "pact/anchor_kl"):
            assert (key in entry) == (key in other)
            assert entry.get(key, 0) == pytest.approx(other.get(key, 0), rel=1e-5), key


@pytest.mark.parametrize(("accumulation", "most"), [(1, 1.08), (4, 1.03)])
@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
def test_the_default_preset_launches_and_reads_next_to_nothing_more(tmp_path, monkeypatch, accumulation, most, packing):
    counts, tokens = [], []
    for place, config in enumerate((None, GATE_AND_ANCHOR)):
        with counted_launches() as steps:
            _, shapes, _ = a_run(
                tmp_path / str(place),
                config,
                ALWAYS,
                monkeypatch,
                model=tiny_llama(num_hidden_layers=24),
                callbacks=[steps],
                train_rows=LONG_ROWS,
                max_length=160,
                gradient_accumulation_steps=accumulation,
                logging_steps=100,
                packing=packing,
                max_steps=3,
            )
        counts.append(steps.of_step[1])
        tokens.append(sum(batch * length for batch, length in shapes[accumulation : 2 * accumulation]))
    assert counts[1] / counts[0] <= most
    # One reply for four rows, each as long as a row at most.
    assert 0 < tokens[1] - tokens[0] <= accumulation * 160


def test_long_rows_leave_the_replies_a_pass_of_their_own(tmp_path, monkeypatch, caplog):
    class Long(SFTTrainer):
        """Rows padded to 512."""

        def compute_loss(self, model, inputs, **kwargs):
            padding = 512 - inputs["input_ids"].shape[1]
            for name, filling in (("input_ids", 0), ("attention_mask", 0), ("labels", -100)):
                inputs[name] = torch.nn.functional.pad(inputs[name], (0, padding), value=filling)
            return super().compute_loss(model, inputs, **kwargs)

    with caplog.at_level("INFO", logger="pact_plugins"):
        _, shapes, _ = a_run(
            tmp_path,
            ANCHOR,
            64,
            monkeypatch,
            model=tiny_llama(max_position_embeddings=512),
            trainer_class=Long,
        )
    assert "a forward pass of its own over" in caplog.text
    assert [length == 512 for _, length in shapes] == [True, False] * 2


SEQUENCES = [TeacherForced([5, 6, 7], [8, 9]), TeacherForced([11, 12], [13, 14, 15])]


def batch(**changes):
    found = {
        "input_ids": torch.tensor([[3, 4, 5, 0, 0, 0], [3, 4, 5, 6, 7, 8]]),
        "attention_mask": torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]]),
    }
    return {name: value for name, value in {**found, **changes}.items() if value is not None}


def states_of(inputs):
    with torch.no_grad():
        return tiny_llama().model(**inputs, use_cache=False).last_hidden_state


POSITIONS = torch.arange(6).expand(2, 6).contiguous()
LAYOUTS = [
    pytest.param(batch(), 2, id="mask"),
    pytest.param(
        batch(input_ids=batch()["input_ids"].flip(1), attention_mask=batch()["attention_mask"].flip(1)),
        2,
        id="padded on the left",
    ),
    pytest.param(batch(attention_mask=None), 2, id="neither mask nor positions"),
    pytest.param(batch(attention_mask=None, position_ids=POSITIONS), 2, id="positions"),
    pytest.param(batch(position_ids=POSITIONS), 2, id="mask and positions"),
    pytest.param({"input_ids": torch.tensor([[3, 4, 5]]), "position_ids": torch.tensor([[0, 1, 0]])}, 0, id="flat"),
]


@pytest.mark.parametrize(("inputs", "rows_more"), LAYOUTS)
def test_neither_the_rows_nor_what_joins_them_sees_the_other(inputs, rows_more):
    taken = seats(inputs, SEQUENCES, may_pack=True)
    whole = states_of(joined(inputs, taken))
    assert len(whole) - len(inputs["input_ids"]) == rows_more
    torch.testing.assert_close(taken.own_rows(whole), states_of(inputs), atol=1e-5, rtol=1e-5)
    alone = []
    for one in SEQUENCES:
        ids = torch.tensor([[*one.context_ids, *one.response_ids][:-1]])
        alone.append(states_of({"input_ids": ids})[0, len(one.context_ids) - 1 :])
    torch.testing.assert_close(taken.responses(whole), torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_replies_share_a_row_where_positions_tell_them_apart():
    short = [TeacherForced([5], [6, 7, 8]), TeacherForced([5], [9, 10, 11])]
    inputs = batch(attention_mask=None, position_ids=POSITIONS)
    assert seats(inputs, short, may_pack=True).whole == (3, 6)
    assert seats(batch(), short, may_pack=True).whole == (4, 6)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"attention_mask": torch.ones(2, 1, 6, 6)}, id="a mask of four dimensions"),
        pytest.param({"inputs_embeds": torch.ones(2, 6, 4)}, id="embeddings"),
        pytest.param({"position_ids": torch.arange(6)[None]}, id="positions of one row for all"),
        pytest.param({"pixel_values": torch.ones(2, 3, 4, 4)}, id="images"),
        pytest.param({"input_ids": None}, id="no ids"),
        pytest.param({"output_router_logits": True}, id="a router's loss"),
    ],
)
def test_layouts_that_take_nobody(changes):
    assert seats(batch(**changes), SEQUENCES, may_pack=True) is None


def test_without_borders_at_positions_a_packed_row_takes_nobody():
    inputs = {"input_ids": torch.tensor([[3, 4, 5]]), "position_ids": torch.tensor([[0, 1, 0]])}
    assert seats(inputs, SEQUENCES, may_pack=False) is None


def test_kernels_for_packed_rows_are_told_of_the_borders():
    ends = torch.tensor([0, 2, 3], dtype=torch.int32)
    inputs = {
        "input_ids": torch.tensor([[3, 4, 5]]),
        "position_ids": torch.tensor([[0, 1, 0]]),
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": 2,
        "max_length_k": 2,
        "seq_idx": torch.tensor([[0, 0, 1]], dtype=torch.int32),
    }
    found = joined(inputs, seats(inputs, SEQUENCES, may_pack=True))
    assert found["position_ids"].tolist() == [[0, 1, 0, 0, 1, 2, 3, 0, 1, 2, 3]]
    assert found["cu_seq_lens_q"].tolist() == found["cu_seq_lens_k"].tolist() == [0, 2, 3, 7, 11]
    assert found["max_length_q"] == found["max_length_k"] == 4
    assert found["seq_idx"].tolist() == [[0, 0, 1, 2, 2, 2, 2, 3, 3, 3, 3]]
    assert found["cu_seq_lens_q"].dtype == found["seq_idx"].dtype == torch.int32
