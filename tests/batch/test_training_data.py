"""The training set as sequences: the same ones however the trainer pads and packs them, and without a trace."""

from __future__ import annotations

import datasets
import pytest
import torch

from pact_plugins.batch.responses import find_responses
from pact_plugins.batch.sequences import (
    ContextRules,
    TokenSequence,
    group_by_length,
    sequence_batch,
    split_sequences,
)
from pact_plugins.batch.training_data import training_data
from tests.helpers.trainers import random_state, rows, sft_trainer

X = -100
RULES = ContextRules()


def split(ids, labels, rules=RULES, **inputs):
    found = split_sequences(
        {"input_ids": torch.tensor(ids), **{name: torch.tensor(value) for name, value in inputs.items()}},
        torch.tensor(labels),
        rules,
    )
    return None if found is None else [(sequence.input_ids.tolist(), sequence.labels.tolist()) for sequence in found]


ALONE = [([7, 8, 5, 6], [X, X, 5, 6]), ([9, 3], [X, 3])]


@pytest.mark.parametrize(
    ("ids", "labels", "inputs"),
    [
        pytest.param(
            [[7, 8, 5, 6, 0], [9, 3, 0, 0, 0]],
            [[X, X, 5, 6, X], [X, 3, X, X, X]],
            {"attention_mask": [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]},
            id="right padding",
        ),
        pytest.param(
            [[0, 7, 8, 5, 6], [0, 0, 0, 9, 3]],
            [[X, X, X, 5, 6], [X, X, X, X, 3]],
            {"attention_mask": [[0, 1, 1, 1, 1], [0, 0, 0, 1, 1]]},
            id="left padding",
        ),
        pytest.param(
            [[7, 8, 5, 6, 9, 3, 0, 0]],
            [[X, X, 5, 6, X, 3, X, X]],
            {"position_ids": [[0, 1, 2, 3, 0, 1, 0, 0]]},
            id="packed, positions",
        ),
        pytest.param(
            [[7, 8, 5, 6, 9, 3, 0, 0]],
            [[X, X, 5, 6, X, 3, X, X]],
            {"attention_mask": [[1, 1, 1, 1, 2, 2, 0, 0]]},
            id="packed, sequence numbers",
        ),
        pytest.param(
            [[7, 8, 5, 6, 1, 9, 3]],
            [[X, X, 5, 6, X, X, 3]],
            {
                "attention_mask": [
                    [[[j <= i and (i < 5) == (j < 5) and (i != 4 or j == 4) for j in range(7)] for i in range(7)]]
                ]
            },
            id="packed, block mask",
        ),
    ],
)
def test_sequences_without_their_rows(ids, labels, inputs):
    assert split(ids, labels, **inputs) == ALONE


def test_what_cannot_be_taken_out_of_its_row():
    ids, labels = [[7, 8, 5, 9, 3]], [[X, X, 5, X, 3]]
    mixed = {"attention_mask": [[1] * 5], "position_ids": [[0, 1, 2, 0, 1]]}
    assert split(ids, labels, **mixed) is None, "a mask of ones lets sequences see each other"
    flash = ContextRules(positions_separate=True)
    assert split(ids, labels, flash, **mixed) == [([7, 8, 5], [X, X, 5]), ([9, 3], [X, 3])]
    padded = {"attention_mask": [[0, 0, 1, 1, 1]]}
    labels = [[X, X, X, X, 3]]
    assert split(ids, labels, ContextRules(relative_positions=False), **padded) is None
    assert split(ids, labels, **padded) == [([5, 9, 3], [X, X, 3])]
    assert split(ids, labels, pixel_values=[1.0]) is None
    assert split(ids, labels, token_type_ids=[[0, 1, 0, 0, 0]]) is None
    assert split(ids, labels, token_type_ids=[[0, 0, 0, 0, 0]]) is not None
    assert split(ids, labels, position_ids=[[0, 1, 2, 4, 5]]) is None, "a gap in the positions"


def test_one_whole_row_without_a_boundary_is_one_sequence():
    assert split([[7, 8, 5, 9, 3]], [[X, X, 5, X, 3]], attention_mask=[[1] * 5]) == [([7, 8, 5, 9, 3], [X, X, 5, X, 3])]


def test_keys_depend_on_tokens_and_labels():
    def key(ids, labels):
        return TokenSequence(*(torch.tensor(values, dtype=torch.int32).numpy() for values in (ids, labels))).key

    keys = {key([7, 8, 5], [X, X, 5]), key([7, 8, 5], [X, 8, 5]), key([7, 9, 5], [X, X, 5]), key([8, 5], [X, 5])}
    assert len(keys) == 4
    assert key([7, 8, 5], [X, X, 5]) in keys


def test_counts_agree_with_find_responses():
    for labels in ([X, 5, 6, X, 7], [4, X, 5], [4, 5, X, 6], [X, X, 3]):
        batch = torch.tensor([labels])
        found = find_responses(batch)
        (sequence,) = split_sequences({"input_ids": batch}, batch, RULES)
        assert sequence.response_tokens == len(found)
        assert sequence.responses == len(found.first_tokens)


def test_a_label_on_a_packed_sequence_s_first_token_counts_as_little_as_in_a_row_of_its_own():
    apart = find_responses(torch.tensor([[5, 6, X], [7, 8, 9]]))
    packed = find_responses(torch.tensor([[5, 6, 7, 8, 9]]), torch.tensor([[0, 1, 0, 1, 2]]))
    assert packed.token_ids.tolist() == apart.token_ids.tolist() == [6, 8, 9]
    assert packed.positions.tolist() == apart.positions.tolist()
    assert packed.response_index.tolist() == apart.response_index.tolist()


def test_groups_hold_similar_lengths_within_the_budget():
    lengths = [3, 50, 4, 9, 9, 30, 2, 8]
    groups = group_by_length(lengths, max_tokens=36)
    assert sorted(index for group in groups for index in group) == list(range(8))
    assert groups[:2] == [[1], [5]]
    assert all(len(group) * max(lengths[i] for i in group) <= 36 for group in groups[1:])
    assert len(groups) == 4


@pytest.mark.framework
@pytest.mark.parametrize(
    "settings",
    [{"max_length": 64}, {"max_length": 64, "packing": True}, {"max_length": None, "padding_free": True}],
    ids=["padded", "packed", "padding-free"],
)
def test_a_trainer_s_rows_are_its_batches_and_leave_no_trace(tmp_path, settings):
    trainer = sft_trainer(tmp_path, train_rows=rows(6), **settings)
    loader = trainer.get_train_dataloader()
    before = random_state()
    data, reason = training_data(loader)
    assert data is not None, reason
    read = list(data.rows(RULES))
    assert random_state() == before
    assert [row.index for row in read] == list(range(len(loader.dataset)))
    ahead = sorted(sequence.key for row in read for sequence in row.sequences)
    assert len(ahead) == 6

    served = [sequence for batch in loader for sequence in split_sequences(batch, batch["labels"], RULES)]
    assert sorted(sequence.key for sequence in served) == ahead

    batch = sequence_batch(served, [0, 3])
    again = split_sequences({"input_ids": batch.input_ids}, batch.labels, RULES)
    assert [sequence.key for sequence in again] == [served[0].key, served[3].key]


def test_a_stream_is_refused_with_its_reason():
    stream = datasets.Dataset.from_list([{"input_ids": [1]}]).to_iterable_dataset()
    data, reason = training_data(torch.utils.data.DataLoader(stream))
    assert data is None
    assert "streamed" in reason
    assert training_data(None) == (None, "the trainer did not pass its training data")
