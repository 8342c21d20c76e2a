"""Answers of kind probability: metrics against scikit-learn, ties, budgets, intervals, and what the gate reads back."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from clickflow.evaluation.answers import probability
from clickflow.evaluation.answers.answering import Answers
from clickflow.evaluation.bootstrap import Resampling
from clickflow.heads import metrics, next_action
from clickflow.heads.outputs import Output
from clickflow.params.evaluation import Evaluation

HOW = Resampling(resamples=300, confidence=0.95, seed=0)


def logs(p: Any) -> np.ndarray:
    own = np.clip(np.asarray(p, np.float64), 1e-9, 1 - 1e-9)
    return np.log(np.stack([1 - own, own], axis=1)).astype(np.float32)


def answers_of(p: Any, target: np.ndarray) -> Answers:
    return Answers(
        output=Output("toy", next_action.HEAD),
        at=np.arange(len(target)),
        target=target,
        systems={"candidate": logs(p)},
        known=np.ones(len(target), bool),
    )


def summary(p: Any, target: np.ndarray, customer: np.ndarray | None = None, how: Resampling = HOW) -> dict[str, Any]:
    owner = np.arange(len(target)) if customer is None else customer
    cells: dict[str, Any] = probability.summary(answers_of(p, target), owner, Evaluation(), how)["candidate"]
    return cells


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.35, 0.8]), st.booleans()), min_size=2, max_size=40).filter(
        lambda rows: 0 < sum(yes for _, yes in rows) < len(rows)
    )
)
@settings(max_examples=60, deadline=None)
def test_metrics_are_those_of_scikit_learn_with_ties_too(rows: list[tuple[float, bool]]) -> None:
    p, target = np.array([p for p, _ in rows]), np.array([yes for _, yes in rows], np.int64)
    values = {name: each["value"] for name, each in summary(p, target).items()}
    assert values["average_precision"] == pytest.approx(average_precision_score(target, p), abs=1e-6)
    assert values["roc_auc"] == pytest.approx(roc_auc_score(target, p), abs=1e-6)
    assert values["log_loss"] == pytest.approx(log_loss(target, p), abs=1e-5)
    assert values["brier"] == pytest.approx(brier_score_loss(target, p), abs=1e-5)


def test_a_budget_takes_the_likeliest_and_of_equal_ones_their_share() -> None:
    p = np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    target = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 1])
    values = probability.measures(probability.recorded(logs(p), target), target, [0.1, 0.3, 1.0])
    assert (values["precision@10%"], values["recall@10%"], values["lift@10%"]) == pytest.approx((1, 0.25, 2.5))
    assert (values["precision@30%"], values["recall@30%"]) == pytest.approx((2 / 3, 0.5)), "two of four equal ones"
    assert (values["precision@100%"], values["recall@100%"], values["lift@100%"]) == pytest.approx((0.4, 1, 1))
    cells = probability.deciles(probability.recorded(logs(p), target).probability, target)
    assert [cell["share"] for cell in cells] == pytest.approx([1] + [0.5] * 4 + [0.2] * 5)
    assert cells[-1]["found"] == 1
    assert np.mean([cell["probability"] for cell in cells]) == pytest.approx(p.mean(), abs=1e-6)


def test_calibration_is_of_the_probability_and_not_of_the_confidence() -> None:
    draw = np.random.default_rng(0)
    p = draw.uniform(0, 0.4, 20_000)
    target = (draw.random(20_000) < p).astype(np.int64)
    assert summary(p, target, how=Resampling(0, 0.95, 0))["ece"]["value"] < 0.01
    assert summary(p / 2, target, how=Resampling(0, 0.95, 0))["ece"]["value"] == pytest.approx(0.1, abs=0.01)


def test_intervals_hold_what_is_true_and_are_by_customer() -> None:
    draw = np.random.default_rng(1)
    customer = np.repeat(np.arange(300), 10)
    taste = np.repeat(draw.normal(size=300), 10)
    score = taste + draw.normal(size=3000)
    p = 1 / (1 + np.exp(2 - score))
    target = (draw.random(3000) < 1 / (1 + np.exp(2 - taste))).astype(np.int64)
    by_customer, by_row = summary(p, target, customer), summary(p, target)
    for name in ("average_precision", "roc_auc", "ece", "precision@10%", "lift@10%", "log_loss"):
        own, other = by_customer[name], by_row[name]
        assert own["low"] < own["value"] < own["high"] or name == "ece"
        assert own["value"] == other["value"]
    wide, narrow = (
        each["average_precision"]["high"] - each["average_precision"]["low"] for each in (by_customer, by_row)
    )
    assert wide > narrow, "the rows of one customer resemble each other"


def test_where_nobody_says_yes_nothing_is_claimed() -> None:
    cells = summary(np.full(20, 0.2), np.zeros(20, np.int64))
    assert cells["average_precision"]["value"] is None
    assert cells["roc_auc"]["value"] is None
    assert cells["log_loss"]["value"] == pytest.approx(-math.log(0.8), abs=1e-6)
    assert probability.deciles(np.full(20, 0.2), np.zeros(20, np.int64)) == []


def test_the_gate_reads_back_what_was_written() -> None:
    draw = np.random.default_rng(2)
    p, target = draw.random(500), draw.integers(0, 2, 500)
    cells = summary(p, target, how=Resampling(0, 0.95, 0))
    answers, missing = probability.read(pa.table(probability.written("candidate", logs(p), target)))
    assert missing == {"candidate": 0}
    again, _ = probability.measured(answers["candidate"], target, np.ones(500, bool), list(cells))
    assert again == pytest.approx({name: each["value"] for name, each in cells.items()}, abs=1e-5)
    for name in ("log_loss", "brier"):
        assert probability.values(name, answers["candidate"], target).mean() == pytest.approx(again[name])


def test_names_and_directions() -> None:
    names = list(metrics.names("probability", [5], [0.05, 0.005]))
    assert {"average_precision", "precision@5%", "recall@0.5%", "lift@5%"} <= set(names)
    assert all(metrics.of("probability", name) for name in names)
    assert list(metrics.names("probability", [5], [0.05], rows=True)) == ["log_loss", "brier"]
    assert metrics.budget_of("lift@0.5%") == pytest.approx(0.005)
    assert metrics.budget_of("recall@5") is None
    assert (metrics.sign("probability", "brier"), metrics.sign("probability", "lift@5%")) == (-1, 1)
