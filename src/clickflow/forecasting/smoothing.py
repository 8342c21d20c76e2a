"""Exponential smoothing of many series at once, its parameters chosen from a grid.

Additive level, damped trend and season (Holt and Winters; Hyndman et al. 2008, Forecasting with Exponential Smoothing,
models ANN, AAdN, ANA, AAdA), on the units or on their logarithm, which makes trend and season factors.
"""

import hashlib
from dataclasses import dataclass
from itertools import product
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.panel import Panel
from clickflow.forecasting.spread import forecast, standardised

Array = NDArray[Any]

ALPHAS = (0.02, 0.06, 0.12, 0.22, 0.36, 0.55, 0.8)
TRENDS = (0.0, 0.03, 0.15)
GAMMAS = (0.0, 0.05, 0.15, 0.35)
DAMPING = 0.94
BLOCK = 300
"""Series smoothed at a time."""
FEW_ZEROS = 0.02
"""A series with a larger share of zeros is not read by its logarithm."""


@dataclass(frozen=True)
class Grid:
    """Parameters, one smoothing each: [g]."""

    alpha: Array
    beta: Array
    gamma: Array
    seasonal: Array

    @property
    def free(self) -> Array:
        """How many parameters each has."""
        return 2 + 2 * (self.beta > 0) + self.seasonal * 1.0

    def at(self, chosen: Array) -> "Grid":
        """One for each series."""
        return Grid(self.alpha[chosen], self.beta[chosen], self.gamma[chosen], self.seasonal[chosen])


def grid(season: int) -> Grid:
    """All that are tried."""
    rows: list[tuple[float, float, float, bool]] = [(a, b, 0.0, False) for a, b in product(ALPHAS, TRENDS)]
    if season > 1:
        rows += [(a, b, g, True) for a, b, g in product(ALPHAS, TRENDS, GAMMAS)]
    alpha, beta, gamma, seasonal = (np.array(column) for column in zip(*rows, strict=True))
    return Grid(alpha, beta, gamma, seasonal)


@dataclass(frozen=True)
class Smoothed:
    """States after each period, of the parameters chosen for each series; errors one step ahead.

    `level`, `trend`, `errors` [s, t]; `slots` [s, m + t]: the season's as they began, then the one that each period
    left, which holds until the season comes round.
    """

    chosen: Grid
    level: Array
    trend: Array
    slots: Array
    errors: Array

    def ahead(self, rows: Array, origins: Array, steps: Array) -> Array:
        """Forecasts [n] made after `origins` periods for the period `steps` (from 1 on) later."""
        damped = DAMPING * (1 - DAMPING**steps) / (1 - DAMPING)
        at, season = origins - 1, self.slots.shape[1] - self.level.shape[1]
        slot = origins - 1 + season - -steps % season
        ahead: Array = self.level[rows, at] + damped * self.trend[rows, at] + self.slots[rows, slot]
        return ahead


def smooth(values: Array, season: int) -> Smoothed:
    """Smooth `values` [s, t] (NaN before a series begins) by the parameters that predict it best one step ahead."""
    key = (hashlib.blake2b(values.tobytes()).digest(), values.shape, season)
    kept = _SMOOTHED.get(key)
    if kept is None:
        _SMOOTHED[key] = kept = _smooth(values, season)
    return kept


_SMOOTHED: "WeakValueDictionary[tuple[bytes, tuple[int, ...], int], Smoothed]" = WeakValueDictionary()
"""What is in use somewhere, by the bytes of the values: `ets` and the lags of a panel smooth the same."""


def _smooth(values: Array, season: int) -> Smoothed:
    tried, begun = grid(season), _begin(values, season)
    spread = _squares(values, tried, begun)
    count = np.maximum((~np.isnan(values)).sum(1) - 1, 1)[:, None]
    mean = spread / count
    floor = 1e-9 * (np.nanmean(values**2, axis=1)[:, None] + 1e-9)
    room = np.maximum(count - tried.free - 1, 1)
    score = count * np.log(mean + floor) + 2 * tried.free * count / room
    return _states(values, tried.at(np.argmin(score, 1)), begun)


Begun = tuple[Array, Array, Array]
"""Level [s], trend [s] and season [s, m] at the start of each series."""


def _squares(values: Array, tried: Grid, begun: Begun) -> Array:
    """The sum of the squared errors one step ahead of all that are tried, [s, g].

    Series that begin together are beside each other, and parameters of one form, so that nothing is computed of series
    before they begin, nor of a trend or a season that there is not.
    """
    out = np.zeros((len(values), len(tried.alpha)))
    first = np.argmax(~np.isnan(values), 1)
    order = np.argsort(first, kind="stable")
    forms = 4 * tried.seasonal + 2 * (tried.gamma > 0) + (tried.beta > 0)
    for at in range(0, len(values), BLOCK):
        rows = order[at : at + BLOCK]
        there: Array = np.searchsorted(first[rows], np.arange(values.shape[1]), side="right")
        own = tuple(each[rows] for each in begun)
        for form in np.unique(forms):
            columns = np.flatnonzero(forms == form)
            squares = _run(np.ascontiguousarray(values[rows].T), there, tried.at(columns), own)
            out[rows[:, None], columns] = squares.T
    return out


def _run(values: Array, there: Array, by: Grid, begun: tuple[Array, ...]) -> Array:
    """The sum of the squared errors [g, s] of `values` [t, s], of which the first `there` [t] have begun; `by`: of one
    form.
    """
    count, series = len(by.alpha), values.shape[1]
    alpha, rate = by.alpha[:, None], (by.alpha * by.beta)[:, None]
    follow = (by.gamma * (1 - by.alpha))[:, None]
    trends, seasonal, moving = bool(by.beta[0]), bool(by.seasonal[0]), bool(by.gamma[0])
    season = begun[2].shape[1]
    states = np.empty((6 + season * moving, count, series))
    states[0], states[1], states[5], states[6:] = begun[0], begun[1], 0.0, begun[2].T[: season * moving, None]
    shared, now = begun[2].T, -1
    missing: Any = np.isnan(values) & (np.arange(series) < there[:, None])
    gaps = missing.any(1)
    for t in range(len(values)):
        if there[t] != now:
            now = there[t]
            level, trend, damped, error, step, spread, *slots = states[:, :, :now]
        if not now:
            continue
        row = values[t, :now]
        if gaps[t]:  # as where a series has ended
            gone = np.flatnonzero(np.isnan(row))
            kept = level[:, gone], trend[:, gone]
        if trends:
            np.multiply(trend, DAMPING, out=damped)
            np.add(level, damped, out=level)
        np.subtract(row, level, out=error)
        if seasonal:
            np.subtract(error, slots[t % season] if moving else shared[t % season, :now], out=error)
        if gaps[t]:
            error[:, gone] = 0.0
        np.add(level, np.multiply(error, alpha, out=step), out=level)
        if trends:
            np.add(damped, np.multiply(error, rate, out=step), out=trend)
        if moving:
            np.add(slots[t % season], np.multiply(error, follow, out=step), out=slots[t % season])
        np.add(spread, np.multiply(error, error, out=error), out=spread)
        if gaps[t]:
            level[:, gone], trend[:, gone] = kept
    squares: Array = states[5]
    return squares


def _states(values: Array, by: Grid, begun: Begun) -> Smoothed:
    """The states after each period, of one entry of `by` for each series."""
    series, periods = values.shape
    season = begun[2].shape[1]
    rate, follow = by.alpha * by.beta, by.gamma * (1 - by.alpha)
    levels, trends, errors = (np.empty((periods, series)) for _ in range(3))
    slots = np.empty((season + periods, series))
    slots[:season] = np.where(by.seasonal[:, None], begun[2], 0.0).T
    level, trend = begun[0], np.where(by.beta > 0, begun[1], 0.0)
    columns = np.ascontiguousarray(values.T)
    absent: Any = np.isnan(columns)
    for t in range(periods):
        base, damped = level + DAMPING * trend, DAMPING * trend
        errors[t] = columns[t] - base - slots[t]
        step = np.where(absent[t], 0.0, errors[t])
        level = levels[t] = np.where(absent[t], level, base + by.alpha * step)
        trend = trends[t] = np.where(absent[t], trend, damped + rate * step)
        slots[season + t] = slots[t] + follow * step
    return Smoothed(by, *(np.ascontiguousarray(each.T) for each in (levels, trends, slots, errors)))


def _begin(values: Array, season: int) -> tuple[Array, Array, Array]:
    """Level, trend and season [s, m] at the start of each series, from its first cycles."""
    series, periods = values.shape
    first = np.argmax(~np.isnan(values), 1)
    cycle = max(season, 4)
    cycles = 4
    at = first[:, None] + np.arange(cycle * cycles)
    there: Array = np.less(at, periods)
    early: Array = np.where(there, np.take_along_axis(values, np.minimum(at, periods - 1), 1), np.nan).reshape(
        series, cycles, cycle
    )
    whole: Any = (~np.isnan(early)).all(2)
    means = np.where(whole, np.nan_to_num(early).mean(2), np.nan)
    level = np.where(whole[:, 0], np.nan_to_num(means[:, 0]), np.nanmean(early[:, 0], 1))
    trend = np.where(whole[:, 1], (np.nan_to_num(means[:, 1]) - level) / cycle, 0.0)
    slots = np.zeros((series, season))
    if season > 1:
        usual = np.where(whole[..., None], early - means[..., None], 0.0).sum(1) / np.maximum(whole.sum(1), 1)[:, None]
        np.put_along_axis(slots, (first[:, None] + np.arange(season)) % season, usual, 1)
    return level, trend, slots


def deviations(by: Grid, season: int, horizon: int) -> Array:
    """How much wider the error of h steps is than that of one: [s, h] (Hyndman et al. 2008, table 6.1)."""
    steps = np.arange(1, horizon)
    damped = DAMPING * (1 - DAMPING**steps) / (1 - DAMPING)
    weight = by.alpha[:, None] * (1 + by.beta[:, None] * damped)
    weight = weight + ((by.gamma * (1 - by.alpha) * by.seasonal)[:, None] * (steps % season == 0) if season > 1 else 0)
    wider: Array = np.sqrt(1 + np.concatenate([np.zeros((len(by.alpha), 1)), np.cumsum(weight**2, 1)], 1))
    return wider


def ets(known: Panel, horizon: int) -> Array:
    """Forecasts [s, h, 4] of all series of `known`."""
    season = known.season
    units = known.values
    zeros = (units == 0).sum(1) / np.maximum((~np.isnan(units)).sum(1), 1)
    plain = _forecast(units, season, horizon)
    rows = np.flatnonzero(zeros <= FEW_ZEROS)
    if not len(rows):
        return plain[0]
    logged, error = _forecast(np.log1p(np.maximum(units[rows], 0)), season, horizon, log=units[rows])
    better = error < plain[1][rows]
    out = plain[0]
    out[rows[better]] = logged[better]
    return out


def _forecast(values: Array, season: int, horizon: int, log: Array | None = None) -> tuple[Array, Array]:
    """Forecasts, and the mean square of the errors one step ahead in units."""
    fit = smooth(values, season)
    series, periods = values.shape
    steps = np.tile(np.arange(1, horizon + 1), series)
    rows = np.repeat(np.arange(series), horizon)
    mean = fit.ahead(rows, np.full(len(rows), periods), steps).reshape(series, horizon)
    deviation, shape = standardised(fit.errors)
    wide = deviation[:, None] * deviations(fit.chosen, season, horizon)
    if log is None:
        return forecast(mean, wide, shape), np.nanmean(fit.errors**2, 1)
    units = np.expm1(np.clip(forecast(mean, wide, shape), 0, 60))
    units[..., 0] = np.expm1(np.minimum(mean + np.minimum(wide, 1) ** 2 / 2, 60))
    return np.maximum(units, 0), np.nanmean((log - np.expm1(np.minimum(values - fit.errors, 60))) ** 2, 1)
