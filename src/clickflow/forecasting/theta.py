"""The Theta method of many series at once (Assimakopoulos and Nikolopoulos 2000; first in the M3 competition).

The mean of a series' straight line and of an exponential smoothing of its line of theta 2, twice the series less the
straight line, which is a smoothing with half of the trend as drift (Hyndman and Billah 2003). The season, where its
autocorrelation shows one, is taken out first by ratios to the moving mean, and put back.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.level import LEAST_FACTOR, place_sums, smoothed_level
from clickflow.forecasting.panel import Panel
from clickflow.forecasting.spread import forecast, standardised

Array = NDArray[Any]

ALPHAS = (0.02, 0.05, 0.1, 0.18, 0.28, 0.4, 0.55, 0.75)
SURE = 1.645
"""Standard errors of an autocorrelation from which on it is a season: 90%, as in the competition."""
BEGIN = 6
"""Periods at the start whose errors are not read, a quarter at most."""


def theta(known: Panel, horizon: int) -> Array:
    """Forecasts [s, h, 4] of all series of `known`."""
    values, season, periods = known.values, known.season, known.periods
    by = factors(values, season)
    ago, ahead = by[:, np.arange(-periods, 0) % season], by[:, np.arange(horizon) % season]
    plain = values / ago
    line, two = _lines(plain, known.first, horizon)
    level, alpha = _smoothed(two, known.first)
    mean = np.maximum((np.repeat(level[:, -1:], horizon, 1) + line[:, periods:]) / 2, 0) * ahead
    own = np.cumsum(~np.isnan(values), 1)
    early = own <= np.minimum(BEGIN, own[:, -1:] // 4)
    errors = np.where(early, np.nan, values - (level[:, :-1] + line[:, :periods]) / 2 * ago)
    deviation, shape = standardised(errors)
    wider = np.sqrt(1 + np.arange(horizon) * alpha[:, None] ** 2)
    return forecast(mean, deviation[:, None] * wider, shape)


def factors(values: Array, season: int) -> Array:
    """The factor of each place in the season, place 0 the next period, [s, m]; 1 where a series shows none."""
    none: Array = np.ones((len(values), season))
    if season == 1:
        return none
    there = ~np.isnan(values)
    count = there.sum(1)
    apart = np.where(there, values - np.nanmean(values, 1, keepdims=True), 0.0)
    square = np.maximum((apart**2).sum(1), 1e-12)
    auto = np.stack([(apart[:, lag:] * apart[:, :-lag]).sum(1) / square for lag in range(1, season + 1)], 1)
    error = np.sqrt((1 + 2 * (auto[:, :-1] ** 2).sum(1)) / np.maximum(count, 1))
    own, moving, _ = place_sums(values, season)
    seasonal = (np.abs(auto[:, -1]) > SURE * error) & (count >= 2 * season) & (moving > 0).all(1)
    raw = own / np.maximum(moving, 1e-9)
    raw = np.maximum(raw / np.maximum(raw.mean(1, keepdims=True), 1e-9), LEAST_FACTOR)
    return np.where(seasonal[:, None], raw, none)


def _lines(plain: Array, first: Array, horizon: int) -> tuple[Array, Array]:
    """The straight line of least squares through each series and on [s, t + h], and the line of theta 2 [s, t]."""
    there = ~np.isnan(plain)
    count = np.maximum(there.sum(1), 1)[:, None]
    age = np.arange(plain.shape[1] + horizon) - first[:, None]
    own = age[:, : plain.shape[1]]
    middle = np.where(there, own, 0).sum(1, keepdims=True) / count
    mean = np.nanmean(plain, 1, keepdims=True)
    apart = np.where(there, own - middle, 0.0)
    slope = (apart * np.where(there, plain - mean, 0.0)).sum(1) / np.maximum((apart**2).sum(1), 1e-9)
    line: Array = mean + slope[:, None] * (age - middle)
    return line, 2 * plain - line[:, : plain.shape[1]]


def _smoothed(two: Array, first: Array) -> tuple[Array, Array]:
    """The level before each period and after the last [s, t + 1], by the alpha [s] of least squared errors."""
    series, periods = two.shape
    start = np.take_along_axis(two, first[:, None], 1)[:, 0]
    best, chosen = np.full(series, np.inf), np.zeros(series)
    out, columns = np.repeat(start[:, None], periods + 1, 1), np.ascontiguousarray(two.T)
    for alpha in ALPHAS:
        level, loss = smoothed_level(columns, start, alpha)
        better = loss < best
        best[better], chosen[better], out[better] = loss[better], alpha, level.T[better]
    return out, chosen
