"""What other sessions held beside an item: counted right, of sessions before alone, and of use."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markov_log import CPU, KNOWN, model, packed, sizes

from clickflow.models.associations import REACH
from clickflow.sequences.store import PackedSplit
from clickflow.training import associations
from clickflow.training.batches import windows
from clickflow.training.loop import train
from clickflow.training.validation import answer

SESSIONS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=REACH + 3), min_size=1, max_size=8)


def at_times(sessions: list[list[int]], ends: list[int]) -> PackedSplit:
    """Sessions that end in the order of `ends`; the split keeps the order of the list."""
    split = packed(sessions)
    time = np.repeat(np.asarray(ends, np.int64) * 10**9, split.lengths) + np.arange(len(split.item))
    return split.with_columns(time=time)


def beside(session: list[int], known: int) -> dict[tuple[int, int], float]:
    """How much each pair of items (in either order) counts in a session."""
    counts: dict[tuple[int, int], float] = defaultdict(float)
    for a, one in enumerate(session):
        for b, other in enumerate(session):
            if a != b and abs(a - b) <= REACH and one != other and min(one, other) >= 2 and max(one, other) < known:
                counts[one, other] += 1 / abs(a - b)
    return counts


@pytest.mark.parametrize("pairs", [1 << 25, 40])
@settings(deadline=None, max_examples=60)
@given(sessions=SESSIONS, seed=st.integers(0, 99))
def test_each_step_knows_what_stood_beside_its_items_in_the_sessions_before(
    pairs: int, sessions: list[list[int]], seed: int
) -> None:
    known = 8
    ends = np.random.default_rng(seed).permutation(len(sessions)).tolist()
    split = at_times(sessions, ends)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(associations, "PAIRS", pairs)
        table, before = associations.count(split, known)
    counted = [beside(session, known) for session in sessions]
    for k, session in enumerate(sessions):
        earlier = [counted[i] for i in range(len(sessions)) if ends[i] < ends[k]]
        for step, item in enumerate(session):
            at = int(split.offsets[k]) + step
            support = sum(count for one in earlier for (a, _), count in one.items() if a == item)
            assert before.support[at] == pytest.approx(support, abs=1e-3)
            for back in range(1, min(step, REACH) + 1):
                expected = sum(one.get((session[step - back], item), 0) for one in earlier)
                assert before.beside[at, back - 1] == pytest.approx(expected, rel=2e-3, abs=1e-3)
    for item in range(known):
        expected = {b: sum(one.get((item, b), 0) for one in counted) for b in range(known)}  # type: ignore[assignment]
        expected = {b: count for b, count in expected.items() if count}  # type: ignore[assignment]
        counts = {int(b): float(c) for b, c in zip(table.items[item], table.counts[item], strict=True) if b}
        assert counts == pytest.approx(expected, rel=1e-5)
        assert table.support[item] == pytest.approx(sum(expected.values()), rel=1e-5)
        assert (np.diff(table.counts[item]) <= 0).all(), "the most frequent neighbour first"


def test_only_the_most_frequent_neighbours_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(associations, "MOST", 2)
    split = packed([[2, 3], [2, 3], [2, 3], [2, 4], [2, 4], [2, 5]])
    table, _ = associations.count(split, 6)
    assert table.items[2].tolist() == [3, 4]
    assert table.counts[2].tolist() == [3, 2]
    assert table.support[2] == 6, "what is not kept counts against what is"


def test_pairs_seen_once_are_known_afterwards_where_a_network_alone_cannot_learn_them() -> None:
    draw = np.random.default_rng(0)
    pairs = draw.permutation(np.arange(2, KNOWN)).reshape(-1, 2)
    noise = [[int(i) for i in draw.integers(2, KNOWN, 3)] for _ in range(150)]
    training = packed([*noise, *([int(a), int(b)] for a, b in pairs for _ in range(2))])
    later = packed([[int(a), int(b)] for a, b in pairs])
    recalls = []
    for there in (True, False):
        spec = model(epochs=4, heads=("next_item",), features=(), item={"associations": there}, dropout=0.0)
        network = train(spec, sizes(training), training, seed=0, settings=CPU).network
        recalls.append(answer(network, later, windows(later.offsets, 8, to_the_end=False)).heads["next_item"].recall(3))
    assert recalls[0] > recalls[1] + 0.2
