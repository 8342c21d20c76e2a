"""How a mixture of forecasts is weighed, spread and rounded: by values that were held back from its methods."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.panel import LEVELS
from clickflow.forecasting.scores import pinball

Array = NDArray[Any]

TRUST = 10
"""Series asked, over all origins, whose loss weighs as much as that; of weights so many of equal loss."""
TRUST_LEVEL = 100
"""The same, for a level to have weights of its own."""
FAR_OFF = 12.0
"""A method whose loss is above that of the best one by the share x, beyond chance, has exp(-`FAR_OFF` x) of its prior
weight: of a prior that is half believed it would keep half of it, though it were twice as far off.
"""
CHANCE = 2.0
"""Standard errors of that share, over series, that are chance."""
FACTORS = np.arange(0.3, 2.61, 0.05)
"""Of the spread, that are tried."""
NEAR_ONE = np.arange(0.86, 1.145, 0.01)
"""And of few units, whose lower quantiles are many just below a whole number, and just above."""
STEPS, RATE = 250, 30.0
"""Of the search for weights."""
VALUES = 8_000
"""The search reads no more than about so many, evenly drawn."""
WHOLE = (2, 3)
"""Where all units are whole, so are the median and the upper quantile: between two whole numbers the expected loss is
a straight line, and its least value lies at an end. The lower one is mostly below 1, and left so that it can cover.
"""
NEAR = 0.015
"""Factors of the spread whose loss is larger by no more than this share are as good: of them the one is taken that
leaves this share outside.
"""
TENTH = 0.1
"""Of few units, whose noise is not fitted by weights."""
TRACE = 0.01
"""Units of a lower quantile that a zero lies below."""
BELOW = (0.05, 0.15)
"""Bounds of the share that is to lie below the lower quantiles of whole units."""
FEW_VALUES = 100
"""Fewer values of backtests say nothing of that."""


def mixed(weights: Array, forecasts: Array) -> Array:
    """The weighted mean of forecasts [k, s, h, 4] by weights [4, k]; quantiles in order."""
    out: Array = np.zeros(forecasts.shape[1:])
    for weight, each in zip(weights.T, forecasts, strict=True):  # in this order, however many series there are
        out += weight * each
    out[..., 1:] = np.sort(out[..., 1:], -1)
    return out


def fit_weights(actual: Array, forecasts: Array, prior: Array, several: float) -> Array:
    """Weights [4, k], none negative and 1 together, of least quantile loss, drawn to the prior where little is known.

    Those of a level are drawn to those that serve all levels; the mean has the median's. `several`: how much is known
    at best, as errors of one origin go together.
    """
    known = ~np.isnan(actual)
    truth = actual[known]
    said = forecasts[:, known][..., 1:]  # [k, n, 3]
    levels = np.array(LEVELS)
    series = equal(actual, mixed(np.tile(prior, (4, 1)), forecasts))
    share = several * series / (series + TRUST)
    prior = without_far_off(prior, actual, forecasts, several)
    shared = share * _search(truth, said, levels, prior) + (1 - share) * prior
    share = several * series / (series + TRUST_LEVEL)
    out = np.empty((4, len(prior)))
    for at in range(3):
        own = _search(truth, said[..., at : at + 1], levels[at : at + 1], shared)
        out[at + 1] = share * own + (1 - share) * shared
    out[0] = out[2]
    return out


def without_far_off(prior: Array, actual: Array, forecasts: Array, several: float) -> Array:
    """The prior [k], 1 together, with less of methods whose loss is above that of the best one, as far as several
    origins say so and it is not that of a few series.
    """
    loss = np.stack([np.nansum(pinball(actual, each), (1, 2)) for each in forecasts])  # [k, s]
    best = loss[np.argmin(loss.sum(1))]
    above = loss - best
    sure = np.maximum(above.sum(1) - CHANCE * np.sqrt((above**2).sum(1)), 0) / max(float(best.sum()), 1e-300)
    weight = prior * np.exp(-FAR_OFF * several * sure)
    left: Array = weight / weight.sum()
    return left


def equal(actual: Array, mix: Array) -> float:
    """How many series [s, h] of equal loss say as much as these, of which a few may have most of it (Kish 1965)."""
    loss = np.nansum(pinball(actual, mix), (1, 2))
    return float(loss.sum() ** 2 / max((loss**2).sum(), 1e-300))


def _search(truth: Array, said: Array, levels: Array, start: Array) -> Array:
    """Weights [k] of least quantile loss of `said` [k, n, q] at `levels` [q], by exponentiated gradient (Kivinen and
    Warmuth 1997) on the loss over what was sold.
    """
    every = max(1, -(-len(truth) // VALUES))
    truth, said = truth[::every], said[:, ::every]
    total = max(np.abs(truth).sum(), 1e-9) * len(levels) / len(LEVELS)
    weight, average = start.copy(), np.zeros(len(start))
    for step in range(STEPS):
        mix = np.tensordot(weight, said, 1)
        slope = np.where(truth[:, None] > mix, -levels, 1 - levels)
        gradient = np.einsum("knq,nq->k", said, slope) / total
        weight = weight * np.exp(-RATE / np.sqrt(1 + step) * (gradient - gradient.min()))
        weight /= weight.sum()
        if step >= STEPS // 2:
            average += weight
    weights: Array = average / average.sum()
    return weights


def fit_spread(actual: Array, mix: Array, wide: Array, beyond: float, tried: Array = FACTORS) -> Array:
    """Factors [2], below and above, of least quantile loss, and of those near it the one that leaves the share `beyond`
    outside on its side; drawn to 1 as far as `wide` [2] says (1: not at all): what is too wide in one season is too
    narrow in the next.
    """
    known = ~np.isnan(actual)
    truth, said = actual[known], mix[known]
    share = wide * len(actual) / (len(actual) + TRUST)
    out = np.ones(2)
    for side, level in enumerate((0, 2)):
        loss, outside = np.empty(len(tried)), np.empty(len(tried))
        for at, factor in enumerate(tried):
            factors = np.array([factor, 1.0] if side == 0 else [1.0, factor])
            moved = spread_out(said, factors)
            loss[at] = pinball(truth, moved)[:, level].sum()
            outside[at] = np.mean(truth < moved[:, 1] if side == 0 else truth > moved[:, 3])
        near = loss <= loss.min() * (1 + NEAR)
        far = np.abs(outside - beyond) + 0.02 * np.abs(tried - 1)
        out[side] = tried[int(np.argmin(np.where(near, far, np.inf)))]
    return 1 + share * (out - 1)


def spread_out(forecast: Array, factors: Array) -> Array:
    """The outer quantiles drawn nearer to the median or away from it; [..., 4] as it came."""
    mean, low, middle, high = np.moveaxis(forecast, -1, 0)
    below, above = factors
    out: Array = np.stack([mean, middle - below * (middle - low), middle, middle + above * (high - middle)], -1)
    return np.maximum(out, 0.0)


def fit_least(actual: Array, mix: Array) -> float | None:
    """The mean by which `parted` leaves so many of the values [s, h] below the lower quantiles of whole units `mix`
    [s, h, 4] that the share outside both is a fifth; None where there are few values.

    A zero lies below a lower quantile of a trace and within one of 0, which cost the same; so which are which decides
    coverage alone. Those of the largest means are above 0: of them the fewest are zeros.
    """
    known = ~np.isnan(actual)
    truth, said = actual[known], mix[known]
    if len(truth) < FEW_VALUES:
        return None
    above = np.mean(truth > rounded(said)[:, 3])
    wanted = float(np.clip(2 * TENTH - above, *BELOW))
    small = said[:, 1] < 1
    order = np.argsort(-said[small, 0], kind="stable")
    below = np.cumsum(truth[small][order] < 1) + np.sum(truth[~small] < said[~small, 1])
    at = int(np.searchsorted(below / len(truth), wanted))
    means = said[small, 0][order]
    return float(means[at]) if at < len(means) else 0.0


def parted(forecast: Array, least: float) -> Array:
    """Lower quantiles below 1 are 0 where the mean is below `least`, and above 0 elsewhere; [..., 4] as it came."""
    out = forecast.copy()
    mean, low = forecast[..., 0], forecast[..., 1]
    out[..., 1] = np.where(low < 1, np.where(mean < least, 0.0, np.maximum(low, TRACE)), low)
    return out


def rounded(forecast: Array) -> Array:
    """Forecasts [..., 4] whose quantiles `WHOLE` are whole, or the lower one where that is above."""
    out = forecast.copy()
    at = list(WHOLE)
    out[..., at] = np.round(out[..., at])
    out[..., 1:] = np.maximum.accumulate(out[..., 1:], -1)
    return out
