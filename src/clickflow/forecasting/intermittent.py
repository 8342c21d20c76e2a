"""Croston's method as Syntetos and Boylan corrected it, and TSB: demand that comes now and then.

Croston 1972; Syntetos and Boylan 2005 (SBA); Teunter, Syntetos and Babai 2011 (TSB).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.panel import Panel

Array = NDArray[Any]

ALPHAS = (0.03, 0.1, 0.2, 0.35)
FORGET = 0.02
"""Weight of the newest squared error in the variance."""


def croston_sba(known: Panel, horizon: int) -> Array:
    """Forecasts [s, h, 4]: the size of a sale over the periods between two, less the bias that this has."""
    return _best(known.values, horizon, [partial(_croston, alpha=alpha) for alpha in ALPHAS])


def tsb(known: Panel, horizon: int) -> Array:
    """Forecasts [s, h, 4]: the size of a sale times its probability, which falls while nothing is sold."""
    pairs = [(a, b) for a in (0.05, 0.15, 0.3) for b in (0.02, 0.06, 0.15, 0.3)]
    return _best(known.values, horizon, [partial(_tsb, alpha=a, beta=b) for a, b in pairs])


def _best(values: Array, horizon: int, methods: list[Callable[[Array], Array]]) -> Array:
    forecasts = np.stack([method(values) for method in methods])  # [g, s, t + 1]: made before each period
    errors = values[None] - forecasts[..., :-1]
    half = values.shape[1] // 4
    chosen = np.argmin(np.nan_to_num(np.nansum(errors[..., half:] ** 2, 2)), 0)
    rows = np.arange(len(values))
    mean = forecasts[chosen, rows, -1]
    error = errors[chosen, rows]
    weight = (1 - FORGET) ** np.arange(values.shape[1])[::-1] * ~np.isnan(error)
    variance = np.nansum(weight * error**2, 1) / np.maximum(weight.sum(1), 1e-9)
    ahead = negative_binomial(mean, variance)
    return np.repeat(ahead[:, None, :], horizon, 1)


def negative_binomial(mean: Array, variance: Array) -> Array:
    """Mean and quantiles [s, 4] of the negative binomial distribution of that mean and variance; Poisson's where the
    variance is no larger than the mean.
    """
    from scipy import stats

    mean = np.maximum(mean, 1e-9)
    over = np.maximum(variance, mean * 1.0001)
    share = mean / over
    size = mean * share / (1 - share)
    levels = [np.where(mean > 1e-6, stats.nbinom.ppf(q, size, share), 0.0) for q in (0.1, 0.5, 0.9)]
    return np.stack([mean, *levels], 1)


def _croston(values: Array, alpha: float) -> Array:
    size, gap, since, begun = _begin(values)
    out = np.empty((values.shape[0], values.shape[1] + 1))
    there = ~np.isnan(values)
    units = np.where(there, values, 0.0)
    for t in range(values.shape[1]):
        out[:, t] = size / gap
        y = units[:, t]
        since += there[:, t]
        sold = y > 0
        gap = np.where(sold & begun, gap + alpha * (since - gap), gap)
        size = np.where(sold, size + alpha * (y - size), size)
        since = np.where(sold, 0, since)
        begun |= sold
    out[:, -1] = size / gap
    return (1 - alpha / 2) * out


def _tsb(values: Array, alpha: float, beta: float) -> Array:
    size, gap, _, _ = _begin(values)
    chance = 1 / gap
    out = np.empty((values.shape[0], values.shape[1] + 1))
    there = ~np.isnan(values)
    units = np.where(there, values, 0.0)
    for t in range(values.shape[1]):
        out[:, t] = size * chance
        y = units[:, t]
        chance = np.where(there[:, t], chance + beta * ((y > 0) - chance), chance)
        size = np.where(y > 0, size + alpha * (y - size), size)
    out[:, -1] = size * chance
    return out


def _begin(values: Array) -> tuple[Array, Array, Array, Array]:
    """Size of a sale and periods between two, from the first quarter of each series (at least 8 periods)."""
    there = ~np.isnan(values)
    age = np.cumsum(there, 1)
    early = there & (age <= np.maximum(there.sum(1, keepdims=True) // 4, 8))
    y = np.where(early, values, 0.0)
    sales = (y > 0).sum(1)
    size = y.sum(1) / np.maximum(sales, 1)
    gap = early.sum(1) / np.maximum(sales, 0.5)
    return size, np.maximum(gap, 1.0), np.zeros(len(values)), np.zeros(len(values), bool)
