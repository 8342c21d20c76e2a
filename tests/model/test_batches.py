"""Windows and batches: every question once, nothing beyond the window, the same for the same seed."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from markov_log import ACTIONS, KNOWN, log, model, packed, sizes

from clickflow.sequences.store import PackedSplit
from clickflow.training.answers import objectives
from clickflow.training.answers.objective import Objective
from clickflow.training.batches import gather, plan, random, windows

LENGTHS = st.lists(st.integers(0, 40), min_size=0, max_size=30)


@given(LENGTHS, st.integers(1, 12), st.booleans(), st.booleans())
def test_every_question_is_asked_in_exactly_one_window(
    lengths: list[int], longest: int, to_the_end: bool, whole: bool
) -> None:
    offsets = np.concatenate([[0], np.cumsum(np.array(lengths, np.int64))]).astype(np.int64)
    cut = windows(offsets, longest, to_the_end=to_the_end, overlap=longest - 1 if whole else None)
    questions: list[int] = []
    for start, length, first, end in zip(cut.start, cut.length, cut.first, cut.end, strict=True):
        assert 0 < length <= longest
        sequence = int(np.searchsorted(offsets, end))
        begin = offsets[np.flatnonzero(offsets[1:] == end)].min()
        assert begin <= start
        assert start + length <= offsets[sequence]
        questions += range(start + first, start + length)
        seen = longest if whole else longest // 2
        assert first == 0 or first + 1 >= seen
        assert first > 0 or start == begin or longest == 1
    expected = [step for a, b in pairwise(offsets) for step in range(a, b if to_the_end else max(a, b - 1))]
    assert sorted(questions) == expected


@given(st.lists(st.integers(1, 50), min_size=1, max_size=200), st.integers(1, 300), st.integers(0, 5))
def test_a_plan_holds_every_window_once_within_the_budget(lengths: list[int], tokens: int, seed: int) -> None:
    array = np.array(lengths, np.int64)
    batches = plan(array, tokens, random(seed, 0))
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or array[batch].max() * len(batch) <= tokens
    again = plan(array, tokens, random(seed, 0))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def asking(split: PackedSplit, known: int, **item: object) -> dict[str, Objective]:
    """Both heads, for a model that knows so many items."""
    return objectives(model(item=item), sizes(split, known))


def test_epochs_differ_in_order_but_not_in_number_of_batches() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 500)
    first, second = (plan(lengths, 100, random(0, epoch)) for epoch in (0, 1))
    assert len(first) == len(second)
    assert not all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert sum(lengths[b].max() * len(b) for b in first) < 1.1 * lengths.sum(), "equal lengths go together"


def test_a_batch_is_what_a_plain_reading_gives() -> None:
    split, longest = log(40, 3), 5
    known = KNOWN - 10
    cut = windows(split.offsets, longest, to_the_end=True)
    batch = gather(split, cut, ("item", "action", "gap", "price"), asking(split, known), known)
    next_item, next_action = batch.targets["next_item"][0], batch.targets["next_action"][0]
    assert set(batch.inputs) == {"item", "action", "gap", "price"}
    for w in range(len(cut)):
        for t in range(next_item.shape[1]):
            at, end = cut.start[w] + t, cut.end[w]
            if t >= cut.length[w]:
                assert all(values[w, t] == 0 for values in batch.inputs.values())
                assert (next_item[w, t], next_action[w, t]) == (-1, -1)
                continue
            item = split.item[at]
            assert batch.inputs["item"][w, t] == (item if item < known else 1)
            assert batch.inputs["gap"][w, t] == split.gap[at]
            assert batch.inputs["price"][w, t] == 0, "a missing price is 0"
            due = t >= cut.first[w]
            following = split.item[at + 1] if at + 1 < end else 0
            assert next_item[w, t] == (following if due and 0 < following < known else -1)
            action = split.action[at + 1] if at + 1 < end else len(ACTIONS)
            assert next_action[w, t] == (action if due else -1)


def test_an_unknown_item_is_read_but_never_a_target() -> None:
    split = packed([[2, 1, 3], [5, 50]])
    batch = gather(split, windows(split.offsets, 9, to_the_end=False), ("item",), asking(split, 10), 10)
    assert batch.inputs["item"].tolist() == [[2, 1], [5, 0]]
    assert batch.targets["next_item"][0].tolist() == [[-1, 3], [-1, -1]]
    assert batch.unknown["next_item"] == 2


def test_items_further_ahead_are_those_of_the_sequence_and_nothing_beyond_it() -> None:
    split = packed([[2, 3, 4, 5], [6, 7], [8, 99, 9, 1, 3]])
    cut = windows(split.offsets, 8, to_the_end=True)
    batch = gather(split, cut, ("item",), asking(split, 50, horizon=3), 50)
    following = [[[3, 4, 5, 0, 0], [7, 0, 0, 0, 0], [0, 9, 0, 3, 0]]]
    following += [[[4, 5, 0, 0, 0], [0, 0, 0, 0, 0], [9, 0, 3, 0, 0]]]
    following += [[[5, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 3, 0, 0, 0]]]
    assert [np.maximum(targets, 0).tolist() for targets in batch.targets["next_item"]] == following
    # in windows a question is asked once, and its answers may lie in the next window
    short = gather(split, windows(split.offsets, 2, to_the_end=False), ("item",), asking(split, 50, horizon=2), 50)
    whole = gather(split, windows(split.offsets, 8, to_the_end=False), ("item",), asking(split, 50, horizon=2), 50)
    for a, b in zip(short.targets["next_item"], whole.targets["next_item"], strict=True):
        assert sorted(a[a > 0].tolist()) == sorted(b[b > 0].tolist())
