"""Forecasts as distributions of counts: around the mean of other methods, with a width learned from all series.

The variance of a count is a part of its mean and a part of its square (the negative binomial distribution; Cameron and
Trivedi 2013, Regression Analysis of Count Data, section 3.3). Both parts are those of all series together, as one has
too few values to say them; how much wider or narrower its own is, each says for itself, as far as it is long enough.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting import shared
from clickflow.forecasting.digits import rounded
from clickflow.forecasting.lags import Lags, lags
from clickflow.forecasting.panel import LEVELS, Panel, Shared, Step, young

Array = NDArray[Any]

RECENT: Mapping[Step, int] = {"day": 28, "week": 52, "month": 36}
"""The last periods whose errors are read."""
LEAST = 150
"""With fewer values there is no such model."""
TRUST = 15
"""Values of a series that weigh as much as all series together in how wide it is."""
LARGEST = 20.0
"""Squared errors more times the variance than this are cut off."""
BOUNDS = (0.3, 4.0)
"""Of how many times the variance of all series one has."""
LEAST_MEAN = 1e-3
MANY = 50.0
"""Means from which on a gamma distribution is as good, as where units are not whole."""


@dataclass(frozen=True)
class Counts:
    """`variance` [2], by which the mean and its square are multiplied; `whole` [1], 1 where units are; and what the
    panel said that it was fitted to.
    """

    weights: Mapping[str, Array]
    shared: Shared

    def about(self, known: Panel, mean: Array, held: Lags | None = None) -> Array:
        """Forecasts [s, h, 4] about a mean [s, h]; `held`: the lags of `known` as fitted, where they are there."""
        held = held or lags(known.as_fitted(self.shared))
        parts = self.weights["variance"]
        before, square = errors(held)
        usual = np.where(np.isnan(square), 0.0, variance(parts, np.nan_to_num(before)))
        count = (~np.isnan(square)).sum(1)
        own = np.nansum(np.minimum(square, LARGEST * usual), 1) / np.maximum(usual.sum(1), 1e-12)
        share = count / (count + TRUST)
        times = np.clip(share * own + (1 - share), *BOUNDS)
        least = np.maximum(mean, LEAST_MEAN)
        quantiles = distribution(least, times[:, None] * variance(parts, least), bool(self.weights["whole"][0]))
        return np.concatenate([mean[..., None], quantiles], -1)


def variance(parts: Array, mean: Array) -> Array:
    """Of counts of that mean."""
    variance: Array = parts[0] * mean + parts[1] * mean**2
    return variance


def errors(held: Lags) -> tuple[Array, Array]:
    """The level before each of the last periods and the square by which it was missed, [s, t]; NaN: nothing known."""
    width = RECENT[held.panel.step]
    before, now = held.slow[:, :-1][:, -width:], held.panel.values[:, 1:][:, -width:]
    square = np.where(before > 0, (now - before) ** 2, np.nan)
    return before, square


def distribution(mean: Array, spread: Array, whole: bool) -> Array:
    """`LEVELS` [..., 3] of the negative binomial distribution of that mean and variance, of the gamma distribution
    where units are not whole or many.
    """
    from scipy import stats

    out = np.empty((*mean.shape, len(LEVELS)))
    few = (mean < MANY) & whole
    over = np.maximum(spread, 1.02 * mean)
    size = mean**2 / (over - mean)
    for at, level in enumerate(LEVELS):
        out[few, at] = stats.nbinom.ppf(level, size[few], (size / (size + mean))[few])
        out[~few, at] = stats.gamma.ppf(level, (mean**2 / spread)[~few], scale=(spread / mean)[~few])
    return out


def fit(known: Panel, *, held: Lags | None = None) -> Counts | None:
    """Fit the variance to all that `known` holds (`held`: its lags, where they are there); None where it is little, and
    of many days, of which the other methods have enough of their own.
    """
    if known.step == "day" and not young(known):
        return None
    before, square = errors(held or lags(known))
    there = ~np.isnan(square)
    if there.sum() < LEAST:
        return None
    mean = before[there]
    size = mean + 0.5 * mean**2
    ratio = square[there] / size
    ratio = np.minimum(ratio, np.quantile(ratio, 0.995))
    parts = np.linalg.lstsq(np.stack([mean, mean**2], 1) / size[:, None], ratio, rcond=None)[0]
    parts = rounded(np.maximum(parts, (0.3, 0.01)))
    whole = not np.nansum(np.abs(known.values - np.round(known.values)))
    return Counts({"variance": parts, "whole": np.array([float(whole)])}, shared.of(known))
