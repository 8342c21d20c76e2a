"""Seasonal ARIMA of many series at once: conditional least squares over a grid of a few orders.

Box, Jenkins, Reinsel and Ljung 2015, Time Series Analysis, chapters 7 and 9. Orders and coefficients are chosen by the
errors one step ahead, which all orders make in the same units.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.panel import Panel
from clickflow.forecasting.spread import forecast, standardised

Array = NDArray[Any]

AR = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
MA = (0.0, 0.2, 0.4, 0.6, 0.75, 0.9)
SEASONAL_MA = (0.3, 0.6, 0.8, 0.95)
BLOCK = 300
"""Series fitted at a time."""


@dataclass(frozen=True)
class Order:
    """(p, d, q)(0, D, Q) of one season: which coefficients are tried, and whether it has a mean."""

    ar: tuple[float, ...] = (0.0,)
    ma: tuple[float, ...] = (0.0,)
    seasonal_ma: tuple[float, ...] = (0.0,)
    d: int = 0
    seasonal_d: int = 0

    @property
    def mean(self) -> bool:
        """A series that is not differenced has a mean."""
        return self.d + self.seasonal_d == 0

    @property
    def free(self) -> int:
        """How many parameters it has."""
        return sum(len(tried) > 1 for tried in (self.ar, self.ma, self.seasonal_ma)) + self.mean + 1


def orders(season: int) -> tuple[Order, ...]:
    """Those that are tried."""
    plain = (Order(AR, MA), Order((0.0,), MA, d=1), Order((0.2, 0.5), MA, d=1))
    if season == 1:
        return plain
    return (*plain, Order(AR, (0.0, 0.3), SEASONAL_MA, seasonal_d=1), Order((0.0,), MA, SEASONAL_MA, d=1, seasonal_d=1))


def _polynomials(order: Order, season: int) -> tuple[dict[int, Array], dict[int, Array]]:
    """Lags and coefficients [g] of what is predicted from: past values (differences multiplied out), past errors."""
    grid = np.array(list(product(order.ar, order.ma, order.seasonal_ma)))
    one = np.ones(len(grid))
    left = {0: one}
    factors = [({0: one, 1: -grid[:, 0]})] + [{0: one, 1: -one}] * order.d + [{0: one, season: -one}] * order.seasonal_d
    for factor in factors:
        left = _times(left, factor)
    right = _times({0: one, 1: -grid[:, 1]}, {0: one, season: -grid[:, 2]} if season > 1 else {0: one})
    return (
        {lag: -values for lag, values in left.items() if lag and values.any()},
        {lag: values for lag, values in right.items() if lag and values.any()},
    )


def _times(left: Mapping[int, Array], right: Mapping[int, Array]) -> dict[int, Array]:
    out: dict[int, Array] = {}
    for (i, a), (j, b) in product(left.items(), right.items()):
        out[i + j] = out.get(i + j, 0) + a * b
    return out


def _errors(values: Array, ar: Mapping[int, Array], ma: Mapping[int, Array]) -> Array:
    """Errors one step ahead [t, s, g]; 0 where they cannot be made."""
    periods = values.shape[1]
    count = len(next(iter((*ar.values(), *ma.values()))))
    out = np.zeros((periods, len(values), count))
    longest = max(ar, default=0)
    for t in range(longest, periods):
        predicted = np.zeros((len(values), count))
        for lag, weight in ar.items():
            predicted += values[:, t - lag, None] * weight
        for lag, weight in ma.items():
            if t >= lag:
                predicted += out[t - lag] * weight
        error = values[:, t, None] - predicted
        out[t] = np.where(np.isnan(error), 0.0, error)
    return out


def sarima(known: Panel, horizon: int) -> Array:
    """Forecasts [s, h, 4] of all series of `known`."""
    rows = range(0, len(known.values), BLOCK)
    return np.concatenate([_block(known.values[at : at + BLOCK], known.season, horizon) for at in rows])


def _block(values: Array, season: int, horizon: int) -> Array:
    center = np.nanmean(values, 1, keepdims=True)
    moved = values - center
    first = np.argmax(~np.isnan(values), 1)
    skip = np.arange(values.shape[1])[:, None] < (first + min(season + 2, values.shape[1] // 2))[None]
    count = np.maximum((~skip).sum(0), 1)
    best = np.full(len(values), np.inf)
    mean = np.tile(center, horizon)
    wide = np.ones((len(values), horizon))
    errors = np.zeros((len(values), values.shape[1]))
    for order in orders(season):
        ar, ma = _polynomials(order, season)
        residuals = _errors(moved, ar, ma)
        square = (np.where(skip[..., None], 0, residuals) ** 2).sum(0)
        room = np.maximum(count - order.free - 1, 1)
        score = count[:, None] * np.log(square / count[:, None] + 1e-9) + (2 * order.free * count / room)[:, None]
        at = np.argmin(score, 1)
        least = score[np.arange(len(values)), at]
        rows = np.flatnonzero(least < best)
        if not len(rows):
            continue
        best[rows] = least[rows]
        own = residuals[:, rows, at[rows]]
        pick = [{lag: weight[at[rows]] for lag, weight in side.items()} for side in (ar, ma)]
        mean[rows], wide[rows] = _ahead(moved[rows], own, pick[0], pick[1], horizon)
        mean[rows] += center[rows]
        errors[rows] = np.where(skip[:, rows], np.nan, own).T
    deviation, shape = standardised(errors)
    return forecast(mean, deviation[:, None] * wide, shape)


def _ahead(
    values: Array, errors: Array, ar: Mapping[int, Array], ma: Mapping[int, Array], horizon: int
) -> tuple[Array, Array]:
    """Means [s, h], and how much wider the error is than that of one step [s, h]."""
    periods = values.shape[1]
    past = np.concatenate([np.nan_to_num(values), np.zeros((len(values), horizon))], 1)
    psi = np.zeros((len(values), horizon))
    psi[:, 0] = 1
    for step in range(horizon):
        for lag, weight in ar.items():
            if periods + step - lag >= 0:
                past[:, periods + step] += weight * past[:, periods + step - lag]
            if step >= lag:
                psi[:, step] += weight * psi[:, step - lag]
        for lag, weight in ma.items():
            if step < lag <= periods + step:
                past[:, periods + step] += weight * errors[periods + step - lag]
            if step == lag:
                psi[:, step] += weight
    return past[:, periods:], np.sqrt(np.cumsum(psi**2, 1))
