"""Session-kNN: V-SKNN and VSTAN against their formulas in loops, and what a question must not see."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_history import KNOWN, history

from clickflow.baselines import NEIGHBOURS, neighbours, returns, session_index, vsknn, vstan

SESSIONS = st.lists(st.lists(st.integers(1, KNOWN - 1), min_size=1, max_size=6), min_size=1, max_size=14)
QUERIES = st.lists(st.lists(st.integers(1, KNOWN - 1), max_size=9), min_size=1, max_size=5)


def newest_first(sessions, width=10):
    rows = np.zeros((len(sessions), width), np.int64)
    for row, session in zip(rows, sessions, strict=True):
        row[: len(session)] = session[::-1]
    return rows


def plain(sessions, ends, session, how, known=KNOWN, own=-1):
    """Both kinds in loops, after the papers' texts; which of equally similar sessions are taken: the most recent."""
    weight, newest = {}, {}
    for back, item in enumerate(session[::-1]):
        if item >= 2 and item not in weight:
            weight[item], newest[item] = how.similarity[back], back
    order = sorted(range(len(sessions)), key=lambda s: (ends[s], s), reverse=True)
    candidates = [s for s in order if s != own and set(sessions[s]) & set(weight)][: how.sample]
    similarity = {}
    for s in candidates:
        similarity[s] = sum(weight[i] for i in set(sessions[s]) & set(weight))
        if how.cosine:
            similarity[s] /= math.sqrt(len({i for i in sessions[s] if i >= 2}))
        if how.recency is not None:
            similarity[s] *= math.exp(-order.index(s) / len(sessions) / how.recency)
    counts = {i: sum(each.count(i) for each in sessions) for i in range(known)}
    scores = np.zeros(known)
    for s in sorted(candidates, key=lambda s: -round(similarity[s], 9))[: how.neighbours]:
        star = min(set(sessions[s]) & set(weight), key=lambda i: newest[i])
        last = {item: step for step, item in enumerate(sessions[s])}
        for item in {i for i in sessions[s] if i >= 2}:
            far = 1.0 if how.distance is None else math.exp(-abs(last[item] - last[star]) / how.distance)
            scores[item] += similarity[s] * how.newest[newest[star]] * far
    for item in range(2, known):
        scores[item] *= 1 + how.idf * max(math.log(len(sessions) / max(counts[item], 1)), 0)
    return scores


@given(SESSIONS, QUERIES, st.data())
@settings(max_examples=150, deadline=None)
def test_both_kinds_agree_with_their_formulas_in_loops(sessions, queries, data):
    ends = data.draw(st.lists(st.integers(0, 5), min_size=len(sessions), max_size=len(sessions)))
    own = data.draw(st.lists(st.integers(-1, len(sessions) - 1), min_size=len(queries), max_size=len(queries)))
    # near enough to each other that rounding decides nothing: a cut is tried where similarities are multiples of 0.1
    cut = {"neighbours": data.draw(st.integers(1, 6)), "sample": data.draw(st.integers(1, 8))}
    tables = [
        vsknn.weighting(**cut, idf=data.draw(st.sampled_from([0.0, 1.0]))),
        vstan.weighting(
            neighbours=cut["sample"], sample=cut["sample"], recency=data.draw(st.sampled_from([None, 0.5]))
        ),
    ]
    for how in tables:
        fitted = neighbours.fit(history(sessions, ends), how)
        rows = newest_first(queries)
        for mine in (None, np.array(own)):
            scores = fitted.scores(rows, mine)
            left_out = [-1] * len(queries) if mine is None else own
            for row, session, out in zip(scores.toarray(), queries, left_out, strict=True):
                assert row == pytest.approx(plain(sessions, ends, session, how, own=out), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", sorted(NEIGHBOURS))
def test_a_session_left_out_says_nothing(name):
    sessions = [[2, 3, 4], [2, 3, 5], [6, 7]]
    fitted = NEIGHBOURS[name](history(sessions))
    rows = newest_first([[2, 3], [2, 3], [6]])
    seen = fitted.scores(rows, np.array([0, -1, 2])).toarray()
    assert seen[0, 4] == 0 < seen[0, 5]
    assert seen[1, 4] > 0 < seen[1, 5]
    assert not seen[2].any()


def test_a_session_left_out_makes_room_for_the_next():
    how = vsknn.weighting(neighbours=1, sample=1)
    fitted = neighbours.fit(history([[2, 3], [2, 4], [2, 5]]), how)
    rows = newest_first([[2], [2]])
    seen = fitted.scores(rows, np.array([-1, 2])).toarray()
    assert np.flatnonzero(seen[0]).tolist() == [2, 5]
    assert np.flatnonzero(seen[1]).tolist() == [2, 4]


@pytest.mark.parametrize("module", [vsknn, vstan])
def test_of_equally_similar_sessions_the_most_recent_is_taken(module):
    sessions = [[2, item] for item in range(3, 9)]
    ends = [3, 9, 1, 9, 2, 5]  # the items 4 and 6 are the most recent, 6 stands later
    fitted = neighbours.fit(history(sessions, ends), module.weighting(neighbours=2, sample=6))
    assert np.flatnonzero(fitted.scores(newest_first([[2]])).toarray()[0]).tolist() == [2, 4, 6]
    one = neighbours.fit(history(sessions, ends), module.weighting(neighbours=1, sample=6))
    assert np.flatnonzero(one.scores(newest_first([[2]])).toarray()[0]).tolist() == [2, 6]


@pytest.mark.parametrize("name", sorted(NEIGHBOURS))
def test_blocks_do_not_show(name, monkeypatch):
    draw = np.random.default_rng(1)
    fitted = NEIGHBOURS[name](history([draw.integers(1, 40, 7).tolist() for _ in range(300)], known=40))
    rows, own = draw.integers(0, 40, (50, 12)), draw.integers(-1, 300, 50)
    whole = fitted.scores(rows, own)
    monkeypatch.setattr(neighbours, "MEETINGS", 100)
    parts = fitted.scores(rows, own)
    assert parts.shape == whole.shape
    assert np.array_equal(parts.toarray(), whole.toarray())
    assert (whole.data > 0).all()


@pytest.mark.parametrize("name", sorted(NEIGHBOURS))
def test_nothing_known_is_no_error(name):
    fitted = NEIGHBOURS[name](history([[2, 3], [1, 1], []], ends=[0, 0, 0]))
    rows = np.array([[0, 0], [1, 1], [8, 0], [KNOWN + 5, 2], [2, 2]])
    assert np.flatnonzero(np.diff(fitted.scores(rows).indptr)).tolist() == [3, 4]
    assert fitted.dense(rows).shape == (5, KNOWN)
    assert fitted.scores(rows[:0]).shape == (0, KNOWN)
    nobody = NEIGHBOURS[name](history([]))
    assert nobody.scores(rows).nnz == 0
    assert nobody.scores(rows, np.full(5, -1)).nnz == 0


def test_steps_beyond_those_told_apart_weigh_as_the_last_of_them():
    width = session_index.STEPS + 20
    fitted = neighbours.fit(history([[2, 3], [4, 5]]), vstan.weighting(similarity=1e3, newest=1e3))
    rows = np.zeros((2, width), np.int64)
    rows[:, :] = 8
    rows[0, session_index.STEPS - 1], rows[1, width - 1] = 2, 2
    seen = fitted.scores(rows).toarray()
    assert seen[0, 3] > 0
    assert np.array_equal(seen[0], seen[1])


def test_items_that_never_come_again_at_once_are_moved_down_and_those_that_do_up():
    draw = np.random.default_rng(3)
    pairs = [draw.choice(np.arange(2, 8), 2, replace=False).tolist() for _ in range(400)]
    once = [first + second for first, second in zip(pairs[:200], pairs[200:], strict=True)]
    never = [[item for step, item in enumerate(each) if step == 0 or item != each[step - 1]] for each in once]
    always = [[item for item in each for _ in range(2)] for each in never]
    row = newest_first([[2, 3]])
    for sessions, lower in ((never, True), (always, False)):
        plain_one, put_right = (NEIGHBOURS[name](history(sessions)) for name in ("vstan", "vstan_returns"))
        before, after = plain_one.scores(row).toarray()[0], put_right.scores(row).toarray()[0]
        assert (after[3] < 0.1 * before[3]) if lower else (after[3] > before[3])
        others = [item for item in range(2, KNOWN) if item not in (2, 3)]
        assert np.array_equal(after[others], before[others])


def test_factors_are_how_often_an_item_came_over_the_score_it_had():
    from scipy.sparse import csr_array

    past = history([[2, 3, 2, 2]])
    captured = {}

    def half_on_the_last_item(recent, own):
        captured["own"] = own.tolist()
        rows = np.arange(len(recent))
        data = np.full((len(recent), 2), 0.5)
        where = np.stack([recent[:, 0], np.full(len(recent), 8)], axis=1)
        return csr_array((data.reshape(-1), (np.repeat(rows, 2), where.reshape(-1))), shape=(len(recent), KNOWN))

    factors = returns.learn(past, half_on_the_last_item)
    assert captured["own"] == [0, 0, 0]
    # of three positions the last item came next once, the one before once; scores were half on the last each time
    assert factors[:3] == pytest.approx([2 / 2.5, 2 / 1, 1])
    scores = half_on_the_last_item(np.array([[5, 4, 5], [8, 5, 0]]), np.array([-1, -1])).tolil().tocsr()
    returns.weigh(scores, np.array([[5, 4, 5], [8, 5, 0]]), np.array([3.0, 7.0, 9.0] + [1.0] * 17))
    assert scores[[0, 0, 0, 1], [5, 4, 8, 8]].tolist() == [1.5, 0, 0.5, 3.0]
