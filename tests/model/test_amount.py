"""Answers of kind amount: the distribution in torch, metrics against plain references, and what the gate reads back."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import spearmanr

from clickflow.evaluation.answers import amount
from clickflow.evaluation.answers.answering import Answers
from clickflow.evaluation.bootstrap import Resampling
from clickflow.heads import next_action
from clickflow.heads.outputs import Output
from clickflow.models.answers.amounts import normal_quantile, summed_up
from clickflow.params.evaluation import Evaluation
from clickflow.training.answers.amounts import deviance

NONE = Resampling(resamples=0, confidence=0.95, seed=0)


def summary(own: Any, target: np.ndarray, customer: np.ndarray | None = None, how: Resampling = NONE) -> dict[str, Any]:
    answered = Answers(
        output=Output("toy", next_action.HEAD),
        at=np.arange(len(target)),
        target=target,
        systems={"candidate": np.asarray(own, np.float32)},
        known=np.ones(len(target), bool),
    )
    owner = np.arange(len(target)) if customer is None else customer
    metrics: dict[str, Any] = amount.summary(answered, owner, Evaluation(), how)["candidate"]
    return metrics


def plain_gini(order: np.ndarray, target: np.ndarray) -> float:
    def area(by: np.ndarray) -> float:
        taken = target[np.argsort(-by, kind="stable")]
        return float(2 * (taken.cumsum() / taken.sum() - taken / taken.sum() / 2).mean() - 1)

    return area(order) / area(target)


def test_the_normal_quantile_is_that_of_the_standard_library() -> None:
    p = np.concatenate([np.geomspace(1e-6, 0.5, 200), 1 - np.geomspace(1e-6, 0.5, 200)])
    expected = [NormalDist().inv_cdf(each) for each in p.tolist()]
    quantile = normal_quantile(torch.from_numpy(p)).numpy()
    np.testing.assert_allclose(quantile, expected, rtol=1e-7, atol=1e-7)


def test_expected_value_and_quantiles_are_those_of_draws() -> None:
    draw = np.random.default_rng(0)
    p, mean, wide = 0.35, 2.0, 0.6
    values = np.where(draw.random(400_000) < p, np.exp(mean + wide * draw.normal(size=400_000)), 0.0)
    odds = torch.tensor([math.log(p / (1 - p))])
    answer = summed_up(odds, torch.tensor([mean]), torch.tensor([wide]))[0].numpy()
    assert answer[0] == pytest.approx(values.mean(), rel=0.01)
    assert answer[1] == answer[2] == 0, "two thirds of all are 0"
    assert answer[3] == pytest.approx(np.quantile(values, 0.9), rel=0.02)


def test_the_deviance_is_least_at_the_mean() -> None:
    amounts = torch.tensor([0.0, 0.0, 3.0, 9.0])
    losses = [float(deviance(amounts, torch.full((4,), each)).mean()) for each in (2.0, 2.9, 3.0, 3.1, 4.0)]
    assert losses.index(min(losses)) == 2
    assert float(deviance(torch.tensor([5.0]), torch.tensor([5.0]))) == pytest.approx(0, abs=1e-5)


def test_metrics_are_those_of_plain_references() -> None:
    draw = np.random.default_rng(1)
    target = np.where(draw.random(300) < 0.4, draw.gamma(1.5, 20, 300), 0.0)
    expected = target * 0.3 + draw.gamma(2, 5, 300)
    own = np.stack([expected, expected * 0.2, expected * 0.8, expected * 2], axis=1).astype(np.float32)
    metrics = {name: each["value"] for name, each in summary(own, target).items()}
    assert metrics["mae"] == pytest.approx(np.abs(own[:, 0] - target).mean(), abs=1e-4)
    assert metrics["sum_ratio"] == pytest.approx(own[:, 0].sum() / target.sum(), rel=1e-5)
    assert metrics["spearman"] == pytest.approx(spearmanr(own[:, 0], target).statistic, abs=1e-5)
    assert metrics["gini"] == pytest.approx(plain_gini(own[:, 0], target), abs=1e-5)
    inside = (own[:, 1] <= target) & (target <= own[:, 3])
    assert metrics["coverage_80"] == pytest.approx(inside.mean(), abs=1e-6)
    losses = [
        max(level * (x - q), (level - 1) * (x - q))
        for x, row in zip(target, own[:, 1:].astype(float), strict=True)
        for level, q in zip((0.1, 0.5, 0.9), row, strict=True)
    ]
    assert metrics["pinball"] == pytest.approx(np.mean(losses), abs=1e-4)


def test_the_same_for_everybody_is_no_order_and_a_perfect_one_is_one() -> None:
    target = np.array([0.0, 0.0, 5.0, 1.0, 9.0] * 10)
    same, right = np.ones((50, 4)), np.repeat(target[:, None], 4, axis=1)
    guessed, exact = summary(same, target), summary(right, target)
    assert guessed["gini"]["value"] == pytest.approx(0, abs=1e-6)
    assert guessed["spearman"]["value"] == 0
    for name in ("gini", "spearman", "sum_ratio", "coverage_80"):
        assert exact[name]["value"] == pytest.approx(1)
    cells = amount.deciles(right, target)
    assert [cell["amount"] for cell in cells[:2]] == [9, 9]
    assert cells[-1]["found"] == 1
    assert amount.deciles(same, target)[0]["found"] == pytest.approx(0.1), "of equal ones each tenth has its share"
    assert amount.deciles(same, np.zeros(50)) == []


def test_intervals_are_by_customer_and_hold_the_value() -> None:
    draw = np.random.default_rng(2)
    customer = np.repeat(np.arange(200), 5)
    worth = np.repeat(draw.gamma(1, 30, 200), 5)
    target = np.where(draw.random(1000) < 0.5, worth * draw.uniform(0.5, 1.5, 1000), 0.0)
    own = np.stack([worth * 0.5, worth * 0, worth * 0.4, worth * 1.4], axis=1)
    how = Resampling(resamples=300, confidence=0.95, seed=0)
    by_customer, by_row = summary(own, target, customer, how), summary(own, target, how=how)
    for name, each in by_customer.items():
        assert each["low"] < each["value"] < each["high"], name
        assert each["value"] == by_row[name]["value"]
    assert by_customer["mae"]["high"] - by_customer["mae"]["low"] > by_row["mae"]["high"] - by_row["mae"]["low"]


def test_where_nobody_bought_nothing_is_claimed() -> None:
    metrics = summary(np.ones((20, 4)), np.zeros(20))
    assert metrics["gini"]["value"] is None
    assert metrics["sum_ratio"]["value"] is None
    assert metrics["mae"]["value"] == 1


def test_the_gate_reads_back_what_was_written() -> None:
    draw = np.random.default_rng(3)
    own = np.sort(draw.gamma(2, 10, (200, 4)), axis=1).astype(np.float32)
    target = draw.gamma(2, 10, 200)
    metrics = summary(own, target)
    answers, missing = amount.read(pa.table(amount.written("candidate", own, target)))
    assert missing == {"candidate": 0}
    again, _ = amount.measured(answers["candidate"], target, np.ones(200, bool), list(metrics))
    assert again == pytest.approx({name: each["value"] for name, each in metrics.items()}, abs=1e-5)
