"""Exponential smoothing of many series at once, its parameters chosen from a grid.

Additive level, damped trend and season (Holt and Winters; Hyndman et al. 2008, Forecasting with Exponential Smoothing,
models ANN, AAdN, ANA, AAdA), on the units or on their logarithm, which makes trend and season factors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

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

    `level`, `trend` [s, t]; `season` [s, t, m]: the season's slots as they stood after the period; `errors` [s, t].
    """

    chosen: Grid
    level: Array
    trend: Array
    season: Array
    errors: Array

    def ahead(self, rows: Array, origins: Array, steps: Array) -> Array:
        """Forecasts [n] made after `origins` periods for the period `steps` (from 1 on) later."""
        damped = DAMPING * (1 - DAMPING**steps) / (1 - DAMPING)
        at = origins - 1
        slot = (at + steps) % self.season.shape[2]
        ahead: Array = self.level[rows, at] + damped * self.trend[rows, at] + self.season[rows, at, slot]
        return ahead


def smooth(values: Array, season: int) -> Smoothed:
    """Smooth `values` [s, t] (NaN before a series begins) by the parameters that predict it best one step ahead."""
    parts = [_block(values[first : first + BLOCK], season) for first in range(0, len(values), BLOCK)]
    joined = [
        np.concatenate(arrays) for arrays in zip(*((p.level, p.trend, p.season, p.errors) for p in parts), strict=True)
    ]
    fields = [np.concatenate([getattr(part.chosen, name) for part in parts]) for name in Grid.__annotations__]
    return Smoothed(Grid(*fields), *joined)


def _block(values: Array, season: int) -> Smoothed:
    tried = grid(season)
    spread = np.zeros((len(values), len(tried.alpha)))
    for error in _run(values, season, tried, each=False):
        spread += np.where(np.isnan(error[3]), 0, error[3]) ** 2
    count = np.maximum((~np.isnan(values)).sum(1) - 1, 1)[:, None]
    mean = spread / count
    floor = 1e-9 * (np.nanmean(values**2, axis=1)[:, None] + 1e-9)
    room = np.maximum(count - tried.free - 1, 1)
    score = count * np.log(mean + floor) + 2 * tried.free * count / room
    chosen = tried.at(np.argmin(score, 1))
    level, trend, seasons, errors = (
        np.stack([np.array(state) for state in states], 1)
        for states in zip(*_run(values, season, chosen, each=True), strict=True)
    )
    return Smoothed(chosen, level, trend, seasons, errors)


def _run(values: Array, season: int, by: Grid, *, each: bool) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Level, trend, season and error after each period: [s, g], or [s] where `by` has one entry for `each` series."""
    level0, trend0, season0 = _begin(values, season)
    wide = (slice(None),) if each else (slice(None), None)
    shape = (len(values),) if each else (len(values), len(by.alpha))
    seasonal = by.seasonal if each else by.seasonal[None]
    level = np.broadcast_to(level0[wide], shape).copy()
    trend = np.where(by.beta > 0, np.broadcast_to(trend0[wide], shape), 0.0)
    slots = np.where(
        seasonal[..., None],
        np.broadcast_to(season0[(*wide, slice(None))] if not each else season0, (*shape, season)),
        0.0,
    )
    rate = by.alpha * by.beta
    follow = by.gamma * (1 - by.alpha)
    for t in range(values.shape[1]):
        now = values[:, t][wide]
        there: Any = ~np.isnan(now)
        slot = t % season
        base = level + DAMPING * trend
        error = np.where(there, now - base - slots[..., slot], np.nan)
        step = np.where(there, error, 0.0)
        level = np.where(there, base + by.alpha * step, level)
        trend = np.where(there, DAMPING * trend + rate * step, trend)
        slots[..., slot] += follow * step
        yield level, trend, slots.copy() if each else slots, error


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
