"""How members are weighed, and how quantiles follow from an expected amount: both from answers that no member saw."""

import numpy as np

from clickflow.models.estimators.estimator import CURVES, Curves
from clickflow.models.estimators.further import Growth
from clickflow.models.estimators.problem import Problem
from clickflow.models.estimators.trees import POWER
from clickflow.sequences.features import Array

BINS = 20
"""Of expected amounts, with as many rows each, where there are enough."""
SMALLEST_BIN = 50


def blend(scores: Array, problem: Problem, shrinkage: float) -> tuple[tuple[float, ...], float]:
    """Weights [M], none negative, and a bias: of least loss over scores [M, N, S].

    The loss is the mean log loss, of amounts the Tweedie deviance, plus `shrinkage` times the squared distance from
    equal weights that sum to 1.
    """
    from scipy.optimize import minimize

    members = len(scores)
    w = problem.weights / problem.weights.sum()
    equal = 1 / members

    def loss(values: Array) -> tuple[float, Array]:
        score = np.tensordot(values[:-1], scores, axes=1) + (values[-1] if problem.width == 1 else 0.0)
        each, slope = _loss(score, problem)
        away = values[:-1] - equal
        slopes = [float((w * (slope * part).sum(axis=1)).sum()) for part in scores]
        of_bias = float((w * slope.sum(axis=1)).sum()) if problem.width == 1 else 0.0
        gradient = np.array([*(np.array(slopes) + 2 * shrinkage * away), of_bias])
        return float((w * each).sum() + shrinkage * (away**2).sum()), gradient

    start = np.array([equal] * members + [0.0])
    bounds: list[tuple[float | None, float | None]] = [(0.0, 2.0)] * members + [(None, None)]
    optimum = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return tuple(float(value) for value in optimum[:-1]), float(optimum[-1])


def _loss(score: Array, problem: Problem) -> tuple[Array, Array]:
    """Of each row, [N], and its slope by the score, [N, S]."""
    if problem.answer == "amount":
        log_mean = np.clip(score[:, 0], -30, 30)
        scale = problem.target.mean() or 1.0
        left, right = np.exp((1 - POWER) * log_mean), np.exp((2 - POWER) * log_mean)
        each = -problem.target * left / (1 - POWER) + right / (2 - POWER)
        unit = scale ** (2 - POWER)
        return each / unit, ((-problem.target * left + right) / unit)[:, None]
    if problem.classes == 2:
        sign = np.where(problem.target == 1, 1.0, -1.0)
        margin = sign * score[:, 0]
        return np.logaddexp(0.0, -margin), (-sign / (1 + np.exp(margin)))[:, None]
    top = score - score.max(axis=1, keepdims=True)
    log_p = top - np.log(np.exp(top).sum(axis=1, keepdims=True))
    rows, target = np.arange(len(score)), problem.target.astype(np.int64)
    slope = np.exp(log_p)
    slope[rows, target] -= 1
    return -log_p[rows, target], slope


def curves(log_mean: Array, problem: Problem, growth: Growth | None = None) -> Curves:
    """Quantiles `CURVES` of the target in bins of rows of like expected amount; they do not fall from bin to bin.
    With a `growth`, those of what the target becomes.
    """
    order = np.argsort(log_mean, kind="stable")
    bins = [b for b in np.array_split(order, int(np.clip(len(order) // SMALLEST_BIN, 1, BINS))) if len(b)]
    knots = np.array([float(np.median(log_mean[rows])) for rows in bins])
    held = [growth.later(rows, problem) if growth else (problem.target[rows], problem.weights[rows]) for rows in bins]
    values = np.array([[_quantile(*each, level) for each in held] for level in CURVES])
    kept = np.concatenate([[True], np.diff(knots) > 1e-6])
    knots, values = knots[kept], values[:, kept]
    if len(knots) == 1:
        knots, values = np.array([knots[0], knots[0] + 1]), np.repeat(values, 2, axis=1)
    values = np.maximum.accumulate(np.maximum.accumulate(values, axis=1), axis=0)
    return Curves(tuple(knots.tolist()), tuple(map(tuple, values.tolist())))


def _quantile(values: Array, weights: Array, level: float) -> float:
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order])
    place = int(np.searchsorted(share, level * share[-1]))
    return float(values[order][min(place, len(values) - 1)])
