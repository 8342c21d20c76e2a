"""Metrics against plain references and scikit-learn; intervals against what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clickflow.evaluation import bootstrap, calibration, slices
from clickflow.evaluation.answers import classes as of_classes
from clickflow.evaluation.answers import ranking
from clickflow.evaluation.bootstrap import Resampling

NONE = Resampling(resamples=0, confidence=0.95, seed=0)


def test_ties_count_against_the_system():
    scores = np.array([[9, 9, 0.5, 0.5, 0.1, 0.7]])
    # index 2 ties with 3, and 5 is better: third
    assert ranking.ranks(scores, np.array([2])) == [3]
    assert ranking.ranks(scores, np.array([3])) == [3]
    assert ranking.ranks(scores, np.array([5])) == [1]
    assert ranking.ranks(np.zeros((1, 12)), np.array([7])) == [10]


def test_padding_unknown_and_strangers_are_misses_and_no_rivals():
    scores = np.array([[99.0, 99.0, 1.0, 0.0]] * 5)
    assert ranking.ranks(scores, np.array([0, 1, 2, 4, -1])).tolist() == [0, 0, 1, 0, 0]


def test_a_score_that_is_no_number_never_helps():
    scores = np.array([[0, 0, np.nan, 1.0, 0.5], [0, 0, 0.2, np.nan, 0.5]])
    assert ranking.ranks(scores, np.array([2, 2])).tolist() == [3, 3]


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(3, 9)), elements=st.sampled_from([0.0, 0.5, 1.0])),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_ranks_and_gains_agree_with_a_plain_reference(scores, seed):
    draw = np.random.default_rng(seed)
    targets = draw.integers(0, scores.shape[1] + 2, len(scores))
    ranks = ranking.ranks(scores, targets)
    gains = ranking.gains(ranks, [1, 3])
    for row, target, rank, gain in zip(scores, targets, ranks, gains, strict=True):
        if not 2 <= target < len(row):
            expected = 0
        else:
            expected = 1 + sum(row[j] >= row[target] for j in range(2, len(row)) if j != target)
        assert rank == expected
        plain = []
        for k in (1, 3):
            hit = 0 < expected <= k
            plain += [float(hit), 1 / expected if hit else 0.0, 1 / math.log2(1 + expected) if hit else 0.0]
        assert gain.tolist() == pytest.approx(plain)


def test_ndcg_agrees_with_scikit_learn():
    from sklearn.metrics import ndcg_score

    draw = np.random.default_rng(0)
    scores = draw.normal(size=(50, 22))
    targets = draw.integers(2, 22, 50)
    truth = np.zeros((50, 20))
    truth[np.arange(50), targets - 2] = 1
    mean = ranking.gains(ranking.ranks(scores, targets), [5])[:, ranking.names([5]).index("ndcg@5")].mean()
    assert mean == pytest.approx(ndcg_score(truth, scores[:, 2:], k=5))


def test_a_ranking_counts_strangers_as_misses_and_leaves_them_out_of_known():
    ranks = np.array([1, 0, 2, 0], np.int32)
    known = np.array([True, False, True, True])
    cells = ranking.intervals({"candidate": ranks}, np.array([0, 0, 1, 1]), known, [1, 2], NONE)["candidate"]
    assert cells["recall@2"] == {"value": 0.5, "low": None, "high": None}
    assert cells["recall@2_known"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert cells["mrr@2"]["value"] == pytest.approx((1 + 0.5) / 4)


def _logs(draw, n, classes):
    values = draw.normal(size=(n, classes))
    return (values - np.log(np.exp(values).sum(1, keepdims=True))).astype(np.float64)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_classes_agree_with_scikit_learn(seed, n, classes):
    from sklearn import metrics as sk

    draw = np.random.default_rng(seed)
    logs, target = _logs(draw, n, classes), draw.integers(0, max(1, classes - 1), n)
    cells = of_classes.intervals({"candidate": logs}, target, np.arange(n), NONE)["candidate"]
    chosen = logs.argmax(1)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(target, chosen, average="macro", zero_division=0)
    expected = {
        "accuracy": sk.accuracy_score(target, chosen),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "log_loss": sk.log_loss(target, np.exp(logs), labels=range(classes)),
    }
    for name, value in expected.items():
        assert cells[name]["value"] == pytest.approx(value, abs=1e-5), name
    every = of_classes.per_class(logs, target, [f"a{i}" for i in range(classes)])
    assert sum(each["n"] for each in every.values()) == n
    assert set(every) == {f"a{i}" for i in set(target) | set(chosen)}


def test_area_under_the_curve_by_hand():
    # class 1: of four pairs of a positive and a negative three are in order, one is a tie
    scores = np.array([[0.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 2.0, 0.0], [0.0, 3.0, 0.0]])
    assert of_classes.roc_auc(scores, np.array([0, 1, 0, 1])) == [0.5, 0.875, None]
    assert of_classes.roc_auc(scores, np.ones(4, np.int64)) == [None, None, None]


def test_calibration_by_hand():
    # two bins: 0.5 said and 1 of 2 true, 0.9 said and 1 of 2 true
    logs = np.log(np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.9, 0.05, 0.05], [0.05, 0.9, 0.05]]))
    target = np.array([0, 1, 0, 0])
    cells = of_classes.intervals({"candidate": logs}, target, np.arange(4), NONE)["candidate"]
    assert cells["ece"]["value"] == pytest.approx((2 * 0.0 + 2 * 0.4) / 4)
    confidence = np.exp(logs.max(1))
    curve = [each for each in calibration.curve(confidence, logs.argmax(1) == target) if each["n"]]
    assert [(each["n"], each["accuracy"]) for each in curve] == [(2, 0.5), (2, 0.5)]
    assert [each["confidence"] for each in curve] == pytest.approx([0.5, 0.9])


def test_perfect_confidence_falls_into_the_last_bin():
    curve = calibration.curve(np.array([1.0, 0.0]), np.array([True, False]))
    assert curve[-1]["n"] == 1
    assert curve[0]["n"] == 1


def test_resampling_is_of_whole_sequences():
    draw = np.random.default_rng(0)
    # a sequence's 20 predictions are all hits or all misses: the spread is that of 100 coins, not of 2,000
    hits = np.repeat(draw.random(100) < 0.5, 20).astype(np.float64)
    sums, sequences = bootstrap.per_sequence(np.repeat(np.arange(100), 20), np.stack([np.ones(2000), hits], 1))
    assert sequences.tolist() == list(range(100))
    totals = bootstrap.resampled(sums, 2000, seed=1)
    spread = (totals[:, 1] / totals[:, 0]).std()
    assert spread == pytest.approx(0.05, rel=0.15)
    assert (totals[:, 0] == 2000).all()


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    draw, covered, times = np.random.default_rng(0), 0, 200
    for seed in range(times):
        rate = draw.beta(2, 2, 120)
        sequence = np.repeat(np.arange(120), 5)
        ranks = np.where(draw.random(600) < rate[sequence], 1, 0).astype(np.int32)
        how = Resampling(resamples=300, confidence=0.9, seed=seed)
        interval = ranking.intervals({"candidate": ranks}, sequence, np.ones(600, bool), [1], how)["candidate"][
            "recall@1"
        ]
        covered += interval["low"] <= 0.5 <= interval["high"]
    assert 0.83 <= covered / times <= 0.97


def test_the_same_seed_gives_the_same_intervals_for_every_system():
    draw = np.random.default_rng(0)
    ranks, sequence = draw.integers(0, 30, 500).astype(np.int32), np.repeat(np.arange(100), 5)
    how = Resampling(resamples=200, confidence=0.95, seed=3)
    alone = ranking.intervals({"a": ranks}, sequence, np.ones(500, bool), [20], how)
    both = ranking.intervals({"b": ranks[::-1], "a": ranks}, sequence, np.ones(500, bool), [20], how)
    assert alone["a"] == both["a"]
    assert alone["a"]["mrr@20"]["low"] < alone["a"]["mrr@20"]["value"] < alone["a"]["mrr@20"]["high"]


def test_no_predictions_give_no_numbers():
    empty = np.zeros(0, np.int32)
    cells = ranking.intervals({"a": empty}, empty, np.zeros(0, bool), [20], Resampling(10, 0.95, 0))
    assert cells["a"]["recall@20"] == {"value": None, "low": None, "high": None}


def test_slices_cover_every_row_once():
    draw = np.random.default_rng(0)
    n = 400
    counts = np.array([0, 0, *range(50, 0, -1)])
    targets = draw.integers(0, 60, n)
    length, time = draw.integers(2, 40, n), draw.integers(0, 10**13, n)
    slicing = slices.slicing(length, time, draw.integers(0, 24, n), slices.popularity(counts, targets))
    ranks = draw.integers(0, 40, n).astype(np.int32)
    values = {name: ranking.values(name, ranks, targets) for name in ("recall@20", "mrr@20")}
    tables = slices.cells(slicing, "predictions", {"candidate": values})
    overall = ranking.gains(ranks, [20])[:, 0].mean()
    for dimension, cells in tables.items():
        assert sum(cell["predictions"] for cell in cells.values()) == n, dimension
        mean = sum(cell["predictions"] * cell["candidate"]["recall@20"] for cell in cells.values()) / n
        assert mean == pytest.approx(overall, abs=1e-5)
    assert slices.lengths(np.array([1, 2, 3, 4, 5, 9, 10, 19, 20, 99])).tolist() == [
        *("1", "2", "3-4", "3-4", "5-9", "5-9", "10-19", "10-19", "20+", "20+")
    ]


def test_head_torso_and_tail_follow_training_counts():
    counts = np.array([0, 0, 50, 30, 10, 5, 5])
    labels = slices.popularity(counts, np.array([2, 3, 4, 5, 6, 1, 0, 7, -1]))
    assert labels.tolist() == ["head", "torso", "tail", "tail", "tail", "unknown", "unknown", "unknown", "unknown"]


def test_days_are_utc():
    assert slices.days(np.array([0, 86_400_000_000 - 1, 86_400_000_000])).tolist() == [
        *("1970-01-01", "1970-01-01", "1970-01-02")
    ]
