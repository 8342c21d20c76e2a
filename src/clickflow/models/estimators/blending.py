"""How members are weighed, and how quantiles follow from an expected amount: both from answers that no member saw."""

from collections.abc import Sequence

import numpy as np

from clickflow.models.estimators import levels
from clickflow.models.estimators.estimator import CURVES, Curves
from clickflow.models.estimators.further import Growth
from clickflow.models.estimators.levels import Levels
from clickflow.models.estimators.problem import Problem
from clickflow.models.estimators.trees import POWER
from clickflow.sequences.features import Array

BINS = 20
"""Of expected amounts, with as many rows each, where there are enough."""
SMALLEST_BIN = 50


def blend(
    scores: Array, problem: Problem, shrinkage: float, other_days: Array, prices: Sequence[float] = ()
) -> tuple[tuple[float, ...], float, Levels | None]:
    """Weights [M], none negative, and a bias: of least loss over scores [M, N, S]; and the levels of the moments of
    asking, where the problem has times, which are fitted beside them and lie around 0.

    The loss is the mean log loss, of amounts the Tweedie deviance, plus `shrinkage` times the squared distance from
    equal weights that sum to 1. A member whose price [M] is above 0 has no part in these: it costs that loss a unit of
    its weight, and is left out where it does not earn it (Tibshirani 1996). `other_days` [N] says which rows were
    scored by what had learned from other days: they count `OTHER_DAYS` times, for what is asked later is always of
    another day.
    """
    from scipy.optimize import minimize

    members = len(scores)
    w = problem.weights * np.where(other_days, OTHER_DAYS, 1.0)
    w = w / w.sum()
    price = np.array(prices or [0.0] * members)
    free = price == 0
    equal, pull = np.where(free, 1 / max(int(free.sum()), 1), 0.0), np.where(free, shrinkage, 0.0)
    days, which = levels.moments(problem.times, problem.width) or (np.empty(0), np.zeros(len(problem), np.int64))
    shares = np.bincount(which, w)[: len(days)]

    def level(values: Array) -> Array:
        own = values[members + 1 :]
        at: Array = values[members] + (own[which] if len(own) else 0.0)
        return np.broadcast_to(at, len(problem))

    def loss(values: Array) -> tuple[float, Array]:
        score = np.tensordot(values[:members], scores, axes=1)
        if problem.width == 1:
            score = score + level(values)[:, None]
        each, slope = _loss(score, problem)
        away, own = values[:members] - equal, values[members + 1 :]
        slopes = [float((w * (slope * part).sum(axis=1)).sum()) for part in scores]
        total = w * slope.sum(axis=1)
        of_bias = float(total.sum()) if problem.width == 1 else 0.0
        of_days = np.bincount(which, total)[: len(days)] + 2 * levels.L2 * shares * own
        gradient = np.array([*(np.array(slopes) + 2 * pull * away + price), of_bias, *of_days])
        held = pull @ away**2 + price @ values[:members] + levels.L2 * shares @ own**2
        return float((w * each).sum() + held), gradient

    start = np.array([*equal, *[0.0] * (1 + len(days))])
    bounds: list[tuple[float | None, float | None]] = [(0.0, 2.0)] * members + [(None, None)] * (1 + len(days))
    optimum = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    share, bias = tuple(float(value) for value in optimum[:members]), float(optimum[members])
    if not len(days):
        return share, bias, None
    score = np.tensordot(optimum[:members], scores, axes=1) + level(optimum)[:, None]
    shares = np.bincount(which, problem.weights) / problem.weights.sum()
    middle = float(shares @ optimum[members + 1 :])
    chance = np.bincount(which, _loss(score, problem)[1][:, 0] ** 2)
    chance = chance / np.maximum(np.bincount(which, _curvature(score[:, 0], problem)), 1e-12) ** 2
    return share, bias + middle, Levels(days, optimum[members + 1 :] - middle, chance)


OTHER_DAYS = 3
"""What a row counts that was asked of what had learned from other days: they are a third of all."""


def _loss(score: Array, problem: Problem) -> tuple[Array, Array]:
    """Of each row, [N], and its slope by the score, [N, S]."""
    if problem.answer == "amount":
        log_mean = np.clip(score[:, 0], -30, 30)
        left, right = np.exp((1 - POWER) * log_mean), np.exp((2 - POWER) * log_mean)
        each = -problem.target * left / (1 - POWER) + right / (2 - POWER)
        unit = _unit(problem)
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


def _curvature(score: Array, problem: Problem) -> Array:
    """The second derivative of the loss by a score [N] of one column."""
    if problem.answer == "amount":
        log_mean = np.clip(score, -30, 30)
        left, right = np.exp((1 - POWER) * log_mean), np.exp((2 - POWER) * log_mean)
        bent: Array = (problem.target * (POWER - 1) * left + (2 - POWER) * right) / _unit(problem)
        return bent
    p = 1 / (1 + np.exp(-score))
    flat: Array = p * (1 - p)
    return flat


def _unit(problem: Problem) -> float:
    """What the deviance of amounts is counted in, so that the currency is no matter."""
    return float((problem.target.mean() or 1.0) ** (2 - POWER))


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
