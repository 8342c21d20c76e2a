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
    """Errors one step ahead [t, s] by coefficients [s]; 0 where they cannot be made."""
    columns = np.ascontiguousarray(values.T)
    out = np.zeros(columns.shape)
    for t in range(max(ar, default=0), len(columns)):
        predicted = np.zeros(len(values))
        for lag, weight in ar.items():
            predicted += columns[t - lag] * weight
        for lag, weight in ma.items():
            if t >= lag:
                predicted += out[t - lag] * weight
        error = columns[t] - predicted
        out[t] = np.where(np.isnan(error), 0.0, error)
    return out


def _squares(values: Array, order: Order, season: int, first: Array, begin: int) -> Array:
    """The sum of the squares of such errors by all coefficients of an order, [s, g], of each series from `begin`
    periods after its `first` [s] on. Series that begin together are beside each other, and the others are not computed.
    """
    ar, ma = _polynomials(order, season)
    out = np.empty((len(values), len(order.ar) * len(order.ma) * len(order.seasonal_ma)))
    by_first = np.argsort(first, kind="stable")
    for at in range(0, len(values), BLOCK):
        rows = by_first[at : at + BLOCK]
        squares = _run(np.ascontiguousarray(values[rows].T), len(order.ar), ar, ma, first[rows], begin)
        out[rows] = squares.reshape(-1, len(rows)).T
    return out


def _run(
    values: Array, of_ar: int, ar: Mapping[int, Array], ma: Mapping[int, Array], first: Array, begin: int
) -> Array:
    """The same of `values` [t, s] in the order of their `first`, [a, m, s]: what past values predict is computed once
    for each of the coefficients `of_ar` that are tried.
    """
    periods, series = values.shape
    of_past = {lag: weight.reshape(of_ar, -1)[:, :1] for lag, weight in ar.items()}
    of_errors = {lag: weight.reshape(of_ar, -1)[0, :, None] for lag, weight in ma.items()}
    longest, held = max(ar, default=0), max(ma, default=0) + 1
    tried = len(next(iter((*ar.values(), *ma.values())))) // of_ar
    errors, step = np.zeros((held, of_ar, tried, series)), np.empty((of_ar, tried, series))
    squares = np.zeros((of_ar, tried, series))
    running = np.searchsorted(first, np.arange(periods) - longest, side="right")
    judged = np.minimum(running, np.searchsorted(first, np.arange(periods) - begin, side="right"))
    for t in range(longest, periods):
        now, row = running[t], values[t, : running[t]]
        error, product = errors[t % held, ..., :now], step[..., :now]
        predicted = np.zeros((of_ar, now))
        for lag, weight in of_past.items():
            predicted += values[t - lag, :now] * weight
        before = predicted[:, None]
        for lag, weight in of_errors.items():
            if t >= lag:
                np.multiply(errors[(t - lag) % held, ..., :now], weight, out=product)
                before = np.add(before, product, out=error)
        np.subtract(row, before, out=error)
        gone = np.isnan(row - predicted[0])
        if gone.any():  # as where a series has ended
            error[..., gone] = 0.0
        counted = slice(judged[t])
        np.add(
            squares[..., counted],
            np.multiply(error[..., counted], error[..., counted], out=product[..., counted]),
            out=squares[..., counted],
        )
    return squares


def sarima(known: Panel, horizon: int) -> Array:
    """Forecasts [s, h, 4] of all series of `known`."""
    values, season, tried = known.values, known.season, orders(known.season)
    series, periods = values.shape
    center = np.nanmean(values, 1, keepdims=True)
    moved, first, begin = values - center, known.first, min(season + 2, periods // 2)
    judged = np.arange(periods)[:, None] >= first + begin
    count = np.maximum(judged.sum(0), 1)
    best, chosen, place = np.full(series, np.inf), np.full(series, -1), np.zeros(series, np.int64)
    for number, order in enumerate(tried):
        square = _squares(moved, order, season, first, begin)
        room = np.maximum(count - order.free - 1, 1)
        score = count[:, None] * np.log(square / count[:, None] + 1e-9) + (2 * order.free * count / room)[:, None]
        at = np.argmin(score, 1)
        least = score[np.arange(series), at]
        better = least < best
        best[better], chosen[better], place[better] = least[better], number, at[better]
    mean, wide, errors = np.tile(center, horizon), np.ones((series, horizon)), np.zeros(values.shape)
    for number, order in enumerate(tried):
        rows = np.flatnonzero(chosen == number)
        if not len(rows):
            continue
        pick = [{lag: weight[place[rows]] for lag, weight in side.items()} for side in _polynomials(order, season)]
        own = _errors(moved[rows], pick[0], pick[1])
        ahead, wide[rows] = _ahead(moved[rows], own, pick[0], pick[1], horizon)
        mean[rows] = ahead + center[rows]
        errors[rows] = np.where(judged[:, rows], own, np.nan).T
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
