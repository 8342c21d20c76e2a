"""By how much two systems differ on the same customers, with 95% intervals: customers are drawn anew, with both answers
of each (the paired bootstrap, Efron and Tibshirani 1993).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Metric = Callable[[Array, Array], Callable[[Array], float]]
"""From truth [N] and answers [N] to the metric under weights [N]: what does not depend on these is done once."""

RESAMPLES = 400
MOST_CELLS = 10_000_000
"""Customers times resamples: of more customers there are fewer resamples, and no fewer than 100."""


def roc_auc(truth: Array, score: Array) -> Callable[[Array], float]:
    """The share of pairs that the score puts in order; equal scores count half."""
    _, place = np.unique(score, return_inverse=True)

    def under(weights: Array) -> float:
        yes, no = (np.bincount(place, weights * each) for each in (truth, 1 - truth))
        return float((yes * (np.cumsum(no) - no / 2)).sum() / max(yes.sum() * no.sum(), 1e-12))

    return under


def log_loss(truth: Array, probability: Array) -> Callable[[Array], float]:
    """Of a probability, none surer than 1e-7."""
    loss = -np.log(np.clip(np.where(truth > 0, probability, 1 - probability), 1e-7, 1))
    return lambda weights: float(weights @ loss / weights.sum())


def gini(truth: Array, score: Array) -> Callable[[Array], float]:
    """Normalised: the area between the share of value and the share of customers, highest score first, over that of the
    truth itself; customers of one score share their value.
    """

    def area(by: Array) -> Callable[[Array], float]:
        _, place = np.unique(-by, return_inverse=True)

        def under(weights: Array) -> float:
            value, count = np.bincount(place, weights * truth), np.bincount(place, weights)
            return float(count @ (np.cumsum(value) - value / 2) / (count.sum() * max(value.sum(), 1e-12)) - 0.5)

        return under

    of_score, of_truth = area(score), area(truth)
    return lambda weights: of_score(weights) / max(of_truth(weights), 1e-12)


def absolute_error(truth: Array, answer: Array) -> Callable[[Array], float]:
    """The mean of it."""
    error = np.abs(truth - answer)
    return lambda weights: float(weights @ error / weights.sum())


METRICS: Mapping[str, Mapping[str, Metric]] = {
    "churn": {"roc_auc": roc_auc, "log_loss": log_loss},
    "spend": {"gini": gini, "mae": absolute_error},
}


def differences(
    truth: Mapping[str, Array], answers: Mapping[str, Mapping[str, Array]], own: str = "preset", seed: int = 0
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """By question, other system and metric: `own` less the other, with the ends of its interval. Answers [N] by system
    and question, and the truth; a question whose truth is the same of all customers has none.
    """
    out: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    size = len(next(iter(truth.values())))
    resamples = int(np.clip(MOST_CELLS // max(size, 1), 100, RESAMPLES))
    for question, metrics in METRICS.items():
        out[question] = {name: {} for name in answers if name != own}
        if len(np.unique(truth[question])) < 2:
            continue
        for metric, of in metrics.items():
            under = {name: of(truth[question], each[question]) for name, each in answers.items()}
            rng = np.random.default_rng(seed)  # the same customers for each metric
            weights = [np.ones(size), *(_drawn(rng, size) for _ in range(resamples))]
            values = {name: np.array([measure(each) for each in weights]) for name, measure in under.items()}
            for name in out[question]:
                apart = values[own] - values[name]
                low, high = np.quantile(apart[1:], (0.025, 0.975))
                out[question][name][metric] = {"value": float(apart[0]), "low": float(low), "high": float(high)}
    return out


def _drawn(rng: np.random.Generator, size: int) -> Array:
    """How often each of `size` customers is drawn, [size]."""
    return np.bincount(rng.integers(0, size, size), minlength=size).astype(np.float64)
