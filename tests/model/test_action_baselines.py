"""Next-action baselines: against counts made by hand, on what there is to learn, and on what they must not see."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import small_models

from clickflow.baselines import CLASSES, positions, tables
from clickflow.baselines.positions import Positions
from clickflow.heads import next_action
from clickflow.sequences.from_arrays import write_store
from clickflow.sequences.store import PackedSplit, open_split

LEARNED = ("logistic", "forest", "boosting")


def packed(sessions, items=None) -> PackedSplit:
    """Lists of action codes, a step every ten seconds."""
    lengths = [len(session) for session in sessions]
    action = np.array([code for session in sessions for code in session], np.uint8)
    n = len(action)
    return PackedSplit(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        item=np.full(n, 2, np.int32) if items is None else np.array(items, np.int32),
        action=action,
        time=np.arange(n, dtype=np.int64) * 10_000_000,
        hour=np.zeros(n, np.uint8),
        weekday=np.zeros(n, np.uint8),
        gap=np.full(n, 10, np.float32),
        since_start=np.full(n, 10, np.float32),
        price=np.full(n, np.nan, np.float32),
        category=np.zeros(n, np.int32),
    )


@dataclass(frozen=True)
class Sizes:
    """What the head's targets need to know of a store."""

    actions: tuple[str, ...]
    known: int = 36
    categories: int = 0


def positions_of(split, actions, max_length) -> Positions:
    """Every position, with the next action as its answer."""
    return positions.training(split, next_action.HEAD, Sizes(tuple(map(str, range(actions)))), max_length)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "session"
    write_store(folder, {"train": small_models.split(300, 0), "test": small_models.split(40, 2)}, known=36)
    return open_split(folder, "train"), open_split(folder, "test")


def test_counting_baselines_count_exit_and_never_say_never():
    train = positions_of(packed([[0, 1, 1], [0, 0]]), 3, 50)
    rows = positions_of(packed([[0, 1, 2]]), 3, 50)
    majority = np.exp(CLASSES["majority"](train)(rows))
    # after the steps: 1, 1, exit, 0, exit; one of each kind on top
    assert majority[0] == pytest.approx(np.array([2, 3, 1, 3]) / 9)
    markov = np.exp(CLASSES["markov"](train)(rows))
    assert markov.sum(1) == pytest.approx(1)
    assert markov[1].argmax() in (1, 3)
    assert (markov > 0).all()
    assert markov[2] == pytest.approx(np.array([2, 3, 1, 3]) / 9)


def test_what_follows_a_position_is_the_next_step_of_its_sequence_or_exit():
    assert positions_of(packed([[0, 1], [], [2], [1, 1]]), 3, 50).target.tolist() == [1, 3, 3, 1, 3]


def test_numbers_of_a_position_are_those_of_its_window():
    split = packed([[1, 1, 0, 2], [0, 0]], items=[5, 6, 5, 7, 8, 8])
    rows = positions_of(split, 3, 3)
    table = positions.features(rows, positions.log_counts(split))
    steps, counts = table[:, :9].reshape(-1, 3, 3), np.expm1(table[:, 9:12])
    assert steps[3].tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert steps[4].tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert counts == pytest.approx(
        np.array([[0, 1, 0], [0, 2, 0], [1, 2, 0], [1, 1, 1], [1, 0, 0], [2, 0, 0]]), abs=1e-9
    )
    assert table[:, 12].tolist() == [0, 0, 1, 0, 0, 1]
    assert np.expm1(table[:, 13]) == pytest.approx([0, 1, 2, 2, 0, 1])
    assert np.expm1(table[:, 18]) == pytest.approx([2, 1, 2, 1, 2, 2])


@pytest.mark.parametrize("name", LEARNED)
def test_learned_baselines_learn_what_only_the_session_so_far_tells(name):
    """The action is that of three steps before: the last one alone, which Markov has, says nothing about it."""
    draw = np.random.default_rng(0)

    def sessions(n):
        drawn = [draw.integers(0, 2, 10).tolist() for _ in range(n)]
        for session in drawn:
            for step in range(3, 10):
                session[step] = session[step - 3]
        return drawn

    train, test = positions_of(packed(sessions(200)), 2, 50), positions_of(packed(sessions(50)), 2, 50)
    late = np.flatnonzero(np.tile(np.arange(10) >= 3, 50) & (test.target < 2))
    logs = CLASSES[name](train)(test)
    assert logs.shape == (500, 3)
    assert np.exp(logs).sum(1) == pytest.approx(1)
    right = (logs[late].argmax(1) == test.target[late]).mean()
    markov = CLASSES["markov"](train)(test)[late].argmax(1)
    assert right > 0.95 > 0.7 > (markov == test.target[late]).mean()


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_no_baseline_looks_ahead_or_before_its_window(name, store):
    train, test = store
    fitted = CLASSES[name](positions_of(train, 9, 5))
    rows = positions_of(test, 9, 5)
    before = fitted(rows)
    for row in range(0, len(rows), 37):
        outside = np.ones(test.n_events, bool)
        outside[rows.first[row] : rows.event[row] + 1] = False
        spoilt = test.with_columns(
            action=np.where(outside, 2, test.action).astype(np.uint8),
            item=np.where(outside, test.item[rows.event[row]], test.item),
            price=np.where(outside, 9, test.price),
            category=np.where(outside, 3, test.category),
        )
        alone = fitted(replace(rows, split=spoilt).only(np.array([row])))[0]
        assert alone == pytest.approx(before[row], abs=1e-9)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_they_are_the_same_again_and_never_say_never(name, store, monkeypatch):
    monkeypatch.setattr(tables, "MOST", 500)  # of 2,400 positions: what is drawn must be the same too
    train, test = (positions_of(part, 9, 8) for part in store)
    once, again = CLASSES[name](train)(test), CLASSES[name](train)(test)
    assert np.array_equal(once, again)
    assert np.isfinite(once).all()


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_nothing_or_one_thing_to_learn_is_no_error(name):
    rows = Positions(packed([[0, 1], [2]], items=[9, 40, 3]), np.arange(3), np.array([0, 0, 2]), 3)
    for sessions in ([], [[1]], [[0], [1], [0]]):
        logs = CLASSES[name](positions_of(packed(sessions), 3, 50))(rows)
        assert logs.shape == (3, 4)
        assert np.isfinite(logs).all()
        assert np.exp(logs).sum(1) == pytest.approx(1)
    fitted = CLASSES[name](positions_of(packed([[0, 1, 0]] * 9), 3, 50))
    assert np.isfinite(fitted(rows)).all()
    assert fitted(rows.only(slice(0, 0))).shape == (0, 4)
