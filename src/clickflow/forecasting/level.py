"""Exponential smoothing of the deseasonalised level; its errors are measured at every step ahead.

The season's factors are ratios to the moving mean (Hyndman and Athanasopoulos 2021, Forecasting: Principles and
Practice, section 3.4), drawn to those of all series; the level is an exponential smoothing of what is left.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.naive import by_place
from clickflow.forecasting.panel import LEVELS, Panel, Step
from clickflow.forecasting.spread import NORMAL

Array = NDArray[Any]

ALPHAS = (0.03, 0.08, 0.15, 0.25, 0.4, 0.6)
CYCLES = 5
"""Whole seasons of a series whose factors weigh as much as those of all series."""
RECENT: Mapping[Step, int] = {"day": 400, "week": 200, "month": 200}
"""The last periods whose errors are read."""
BEGIN = 6
"""Origins at the start whose errors are not read, a third of all at most."""
PARTS = 3
"""Of the steps ahead; the errors of each are read together."""
TRUST = 40
"""Errors that weigh as much as the normal distribution in the quantiles."""
LEAST_FACTOR = 0.1
LEAST_LEVEL = 0.1
"""Of the mean: the spread is that of no lower level."""


def seasonal_level(known: Panel, horizon: int) -> Array:
    """Forecasts [s, h, 4]: the level times the season's factor; the spread grows with the root of the level."""
    values, season = known.values, known.season
    by, periods = factors(values, season, known.usual("seasonal_level")), known.periods
    plain = values / by[:, np.arange(-periods, 0) % season]
    begin = max(0, periods - RECENT[known.step] - horizon)
    level = levels(plain, season, horizon, begin)
    root = np.sqrt(np.maximum(level, np.maximum(LEAST_LEVEL * np.nanmean(plain, 1, keepdims=True), 1e-6)))
    out = np.repeat(level[:, -1:, None], horizon, 1).repeat(4, 2)
    for steps in np.array_split(np.arange(1, horizon + 1), min(PARTS, horizon)):
        errors = np.concatenate([_errors(plain, level, int(step), begin, root) for step in steps], 1)
        origins = (~np.isnan(_errors(plain, level, int(steps[0]), begin))).sum(1)
        out[:, steps - 1, 1:] += (_quantiles(errors, origins) * root[:, -1:])[:, None]
    out *= by[:, np.arange(horizon) % season, None]
    forecast: Array = np.maximum(out, 0)
    return forecast


def usual(known: Panel) -> Array:
    """The factor of each place in the season of all series, place 0 the next period, [m]."""
    return _shared(*place_sums(known.values, known.season)[:2]) if known.season > 1 else np.ones(1)


def place_sums(values: Array, season: int) -> tuple[Array, Array, Array]:
    """By place in the season units, and those of the moving mean, [s, m]; and where the series is [s, t]."""
    there = (~np.isnan(values)).astype(float)
    sold = np.nan_to_num(values)
    width = np.ones(season + 1)
    width[[0, -1]] = 0.5
    mean = _moved(sold, width) / np.maximum(_moved(there, width), 1e-9)
    return by_place(sold, season), by_place(mean * there, season), there


def _shared(own: Array, moving: Array) -> Array:
    total = np.maximum(own.sum(1, keepdims=True), 1e-9)
    shared: Array = (own / total).sum(0) / np.maximum((moving / total).sum(0), 1e-9)
    return shared


def factors(values: Array, season: int, shared: Array | None) -> Array:
    """The factor of each place in the season, place 0 the next period, [s, m]: a series' own, drawn to `shared`."""
    if season == 1:
        none: Array = np.ones((len(values), 1))
        return none
    own, moving, there = place_sums(values, season)
    shared = _shared(own, moving) if shared is None else shared
    cycles = there.sum(1, keepdims=True) / season
    share = cycles / (cycles + CYCLES)
    raw = share * np.where(moving > 0, own / np.maximum(moving, 1e-9), shared) + (1 - share) * shared
    factors: Array = np.maximum(raw / np.maximum(raw.mean(1, keepdims=True), 1e-9), LEAST_FACTOR)
    return factors


def _moved(values: Array, width: Array) -> Array:
    half = len(width) // 2
    padded = np.pad(values, ((0, 0), (half, len(width) - 1 - half)))
    moved: Array = np.lib.stride_tricks.sliding_window_view(padded, len(width), axis=1) @ width
    return moved


def levels(plain: Array, season: int, horizon: int, begin: int) -> Array:
    """The level before each period and after the last, [s, t + 1], by the alpha of least squared errors ahead."""
    series, periods = plain.shape
    first = np.argmax(~np.isnan(plain), 1)[:, None]
    start = np.nanmean(np.where(np.arange(periods) < first + max(BEGIN, season), plain, np.nan), 1)
    best, out = np.full(series, np.inf), np.tile(start[:, None], periods + 1)
    columns = np.ascontiguousarray(plain.T)
    for alpha in ALPHAS:
        level = np.ascontiguousarray(smoothed_level(columns, start, alpha)[0].T)
        steps = sorted({1, (horizon + 1) // 2, horizon})
        squares = [np.nansum(_errors(plain, level, step, begin) ** 2, 1) for step in steps if step < periods - begin]
        loss = np.sum(squares, 0) if squares else np.zeros(series)
        better = loss < best
        best[better], out[better] = loss[better], level[better]
    return out


def smoothed_level(columns: Array, start: Array, alpha: float) -> tuple[Array, Array]:
    """The level of an exponential smoothing of `columns` [t, s] from `start` [s] on, before each period and after the
    last, [t + 1, s]; and the sum of its squared errors [s].
    """
    level, squares = np.empty((len(columns) + 1, len(start))), np.zeros(len(start))
    level[0] = start
    for t, now in enumerate(columns):
        error = np.where(np.isnan(now), 0.0, now - level[t])
        level[t + 1] = level[t] + alpha * error
        squares += error**2
    return level, squares


def _errors(plain: Array, level: Array, step: int, begin: int, root: Array | float = 1.0) -> Array:
    """Errors of that step ahead, over the root of the level they were made from, [s, origins]."""
    periods = plain.shape[1]
    if step >= periods - begin:
        return np.full((len(plain), 1), np.nan)
    over = root[:, begin : periods + 1 - step] if isinstance(root, np.ndarray) else root
    errors: Array = (plain[:, begin + step - 1 :] - level[:, begin : periods + 1 - step]) / over
    return errors[:, min(BEGIN, errors.shape[1] // 3) :]


def _quantiles(errors: Array, origins: Array) -> Array:
    """`LEVELS` of each row [s, 3], drawn to the normal distribution's where there are few origins [s]."""
    count = np.maximum((~np.isnan(errors)).sum(1), 1)
    held = np.nan_to_num(np.sort(errors, 1))  # what is not known comes last
    rows = np.arange(len(held))
    quantiles = []
    for level in LEVELS:
        place = level * (count - 1)
        under = place.astype(np.int64)
        over = np.minimum(under + 1, count - 1)
        quantiles.append(held[rows, under] + (place - under) * (held[rows, over] - held[rows, under]))
    deviation = np.sqrt(np.nansum(errors**2, 1) / count)
    share = (origins / (origins + TRUST))[:, None]
    both: Array = share * np.stack(quantiles, 1) + (1 - share) * deviation[:, None] * np.array(NORMAL)
    both.sort(axis=1)
    return both
