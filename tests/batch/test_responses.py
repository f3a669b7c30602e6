"""``find_responses`` and the prompt-free batch against loops over plain Python lists."""

from __future__ import annotations

import random

import pytest
import torch

from pact_plugins.batch.prompt_free import prompt_free_batch
from pact_plugins.batch.responses import find_responses

X = -100


def as_rows(labels, position_ids=None):
    """(row, column, position, response_index, token) of each response token."""
    found = find_responses(torch.tensor(labels), None if position_ids is None else torch.tensor(position_ids))
    parts = (found.rows, found.columns, found.positions, found.response_index, found.token_ids)
    assert len(found) == len(found.rows)
    return list(zip(*(part.tolist() for part in parts), strict=True))


def naive(labels, position_ids=None):
    rows, number = [], -1
    for row, line in enumerate(labels):
        position, last_counted = None, None
        for column, token in enumerate(line):
            if token == X:
                position = None
                continue
            places = None if position_ids is None else position_ids[row if len(position_ids) > 1 else 0]
            restarts = places is not None and column > 0 and places[column] <= places[column - 1]
            position = 0 if position is None or restarts else position + 1
            if position == 0:
                last_counted = None
            if column == 0 or restarts:
                continue
            if last_counted is None:
                number += 1
                last_counted = number
            rows.append((row, column - 1, position, number, token))
    return rows


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param([[X, X, 5, 6, X]], [(0, 1, 0, 0, 5), (0, 2, 1, 0, 6)], id="right padding"),
        pytest.param([[X, X, X, 5, 6]], [(0, 2, 0, 0, 5), (0, 3, 1, 0, 6)], id="left padding"),
        pytest.param(
            [[X, 5, 6, X, 7, X, 8]],
            [(0, 0, 0, 0, 5), (0, 1, 1, 0, 6), (0, 3, 0, 1, 7), (0, 5, 0, 2, 8)],
            id="several turns",
        ),
        pytest.param([[X, X], [X, 4], [X, X]], [(1, 0, 0, 0, 4)], id="empty rows"),
        pytest.param([[X, X], [X, X]], [], id="nothing"),
        pytest.param([[3, 4, X]], [(0, 0, 1, 0, 4)], id="column 0 is predicted by nothing"),
        pytest.param([[3, X, 4]], [(0, 1, 0, 0, 4)], id="a lone label in column 0"),
        pytest.param([[X, 3], [4, 5]], [(0, 0, 0, 0, 3), (1, 0, 1, 1, 5)], id="runs end at the row's end"),
    ],
)
def test_responses(labels, expected):
    assert as_rows(labels) == expected
    assert naive(labels) == expected


def test_packed_sequences_are_separated_where_positions_restart():
    labels = [[X, 5, 6, 7, 8, X, 9]]
    positions = [[0, 1, 2, 0, 1, 2, 3]]
    expected = [(0, 0, 0, 0, 5), (0, 1, 1, 0, 6), (0, 3, 1, 1, 8), (0, 5, 0, 2, 9)]
    assert as_rows(labels, positions) == expected
    assert as_rows(labels) != expected


def test_one_row_of_position_ids_serves_every_row():
    labels = [[X, 5, 6, 7], [X, X, 6, 7]]
    assert as_rows(labels, [[0, 1, 0, 1]]) == naive(labels, [[0, 1, 0, 1]])
    # Plain ascending positions, or those of another length, separate nothing.
    assert as_rows(labels, [[0, 1, 2, 3]]) == as_rows(labels)
    assert as_rows(labels, [[0, 1, 0]]) == as_rows(labels)


def random_batch(seed):
    generator = random.Random(seed)
    rows, width = generator.randint(1, 4), generator.randint(1, 14)
    share = generator.choice([0.2, 0.5, 0.8, 1.0])
    labels = [
        [generator.randint(5, 99) if generator.random() < share else X for _ in range(width)] for _ in range(rows)
    ]
    if generator.random() < 0.5:
        return labels, None
    positions = []
    for _ in range(generator.choice([1, rows])):
        line = [0]
        while len(line) < width:
            line.append(0 if generator.random() < 0.25 else line[-1] + 1)
        positions.append(line)
    return labels, positions


@pytest.mark.parametrize("seed", range(150))
def test_random_labels_agree_with_a_plain_loop(seed):
    labels, positions = random_batch(seed)
    assert as_rows(labels, positions) == naive(labels, positions)


@pytest.mark.parametrize("seed", range(60))
def test_random_prompt_free_batches_agree_with_a_plain_loop(seed):
    labels, positions = random_batch(1000 + seed)
    responses = find_responses(torch.tensor(labels), None if positions is None else torch.tensor(positions))
    header = [201, 202, 203][: 1 + seed % 3]
    batch = prompt_free_batch(responses, header)
    grouped: dict[int, list[int]] = {}
    for _, _, _, number, token in naive(labels, positions):
        grouped.setdefault(number, []).append(token)
    for number, tokens in grouped.items():
        kept = batch.input_ids[number][batch.attention_mask[number].astype(bool)].tolist()
        assert kept == header + tokens[:-1]
    assert len(batch.input_ids) == max(1, len(grouped))
    # Each token is predicted from what stands just before it: the header's end, or the token before.
    order = 0
    for number, tokens in grouped.items():
        for place in range(len(tokens)):
            assert (int(batch.rows[order]), int(batch.columns[order])) == (number, len(header) - 1 + place)
            before = header[-1] if place == 0 else tokens[place - 1]
            assert int(batch.input_ids[batch.rows[order], batch.columns[order]]) == before
            order += 1
    assert order == len(responses)


def test_select_takes_the_states_that_predict_the_tokens():
    hidden = torch.arange(24.0).view(2, 4, 3)
    responses = find_responses(torch.tensor([[X, 5, X, 6], [X, X, 7, 8]]))
    assert torch.equal(responses.select(hidden), torch.stack([hidden[0, 0], hidden[0, 2], hidden[1, 1], hidden[1, 2]]))
