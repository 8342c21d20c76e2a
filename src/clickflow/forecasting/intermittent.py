"""Croston's method as Syntetos and Boylan corrected it, and TSB: demand that comes now and then.

Croston 1972; Syntetos and Boylan 2005 (SBA); Teunter, Syntetos and Babai 2011 (TSB).
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.panel import Panel

Array = NDArray[Any]

ALPHAS = (0.03, 0.1, 0.2, 0.35)
SIZES, CHANCES = (0.05, 0.15, 0.3), (0.02, 0.06, 0.15, 0.3)
"""The same of TSB, of the size of a sale and of its probability."""
BLOCK = 300
"""Series computed at a time."""
FORGET = 0.02
"""Weight of the newest squared error in the variance."""


def croston_sba(known: Panel, horizon: int) -> Array:
    """Forecasts [s, h, 4]: the size of a sale over the periods between two, less the bias that this has."""
    return _best(known.values, horizon, _croston)


def tsb(known: Panel, horizon: int) -> Array:
    """Forecasts [s, h, 4]: the size of a sale times its probability, which falls while nothing is sold."""
    return _best(known.values, horizon, _tsb)


def _best(values: Array, horizon: int, method: Callable[[Array], Iterator[Array]]) -> Array:
    """Of what a method forecasts before each period, [s, t + 1], one after the other, the one of least squared errors
    for each series.
    """
    series, half = len(values), values.shape[1] // 4
    mean, variance = np.empty(series), np.empty(series)
    for first in range(0, series, BLOCK):
        own = values[first : first + BLOCK]
        least, ahead, error = np.full(len(own), np.inf), np.zeros(len(own)), np.zeros(own.shape)
        for forecasts in method(own):
            missed = own - forecasts[:, :-1]
            loss = np.nan_to_num(np.nansum(missed[:, half:] ** 2, 1))
            better = loss < least
            least[better], ahead[better], error[better] = loss[better], forecasts[better, -1], missed[better]
        weight = (1 - FORGET) ** np.arange(values.shape[1])[::-1] * ~np.isnan(error)
        mean[first : first + BLOCK] = ahead
        variance[first : first + BLOCK] = np.nansum(weight * error**2, 1) / np.maximum(weight.sum(1), 1e-9)
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


def _croston(values: Array) -> Iterator[Array]:
    start, gaps, since, begun = _begin(values)
    alphas = np.array(ALPHAS)[:, None]
    size, gap = (np.tile(each, (len(alphas), 1)) for each in (start, gaps))
    out = np.empty((values.shape[1] + 1, *size.shape))
    there = ~np.isnan(values)
    units = np.where(there, values, 0.0)
    for t in range(values.shape[1]):
        out[t] = size / gap
        y = units[:, t]
        since += there[:, t]
        sold = y > 0
        gap = np.where(sold & begun, gap + alphas * (since - gap), gap)
        size = np.where(sold, size + alphas * (y - size), size)
        since = np.where(sold, 0, since)
        begun |= sold
    out[-1] = size / gap
    for alpha, forecasts in zip(ALPHAS, _by_series(out), strict=True):
        yield (1 - alpha / 2) * forecasts


def _tsb(values: Array) -> Iterator[Array]:
    start, gap, _, _ = _begin(values)
    sizes, chances = np.array(SIZES)[:, None], np.array(CHANCES)[:, None]
    size, chance = np.tile(start, (len(sizes), 1)), np.tile(1 / gap, (len(chances), 1))
    of_size, of_chance = (np.empty((values.shape[1] + 1, *each.shape)) for each in (size, chance))
    there = ~np.isnan(values)
    units = np.where(there, values, 0.0)
    for t in range(values.shape[1]):
        of_size[t], of_chance[t] = size, chance
        y = units[:, t]
        chance = np.where(there[:, t], chance + chances * ((y > 0) - chance), chance)
        size = np.where(y > 0, size + sizes * (y - size), size)
    of_size[-1], of_chance[-1] = size, chance
    for each, other in product(_by_series(of_size), _by_series(of_chance)):
        yield each * other


def _by_series(courses: Array) -> Array:
    """[t, g, s] as [g, s, t]."""
    return np.ascontiguousarray(courses.transpose(1, 2, 0))


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
