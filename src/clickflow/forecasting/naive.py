"""Seasonal naive: what was sold a season ago; and the quantiles of the last seasons."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.panel import Panel, Step
from clickflow.forecasting.spread import forecast, quantiles, standardised

Array = NDArray[Any]

WINDOW: Mapping[Step, int] = {"day": 56, "week": 26, "month": 12}
"""The last periods whose quantiles `window` takes."""
SHORT_WINDOW: Mapping[Step, int] = {"day": 28, "week": 8, "month": 6}
FEW = 15
"""Days with a sale from which on a series' own weekdays count more than those of all."""
LEAST_FACTOR = 0.1


def seasonal_naive(known: Panel, horizon: int) -> Array:
    """Forecasts [s, h, 4]: the value a season before each period; errors grow with the seasons ahead."""
    values, season = known.values, known.season
    if values.shape[1] <= season:
        season = 1
    ahead = np.arange(horizon)
    mean = values[:, values.shape[1] - season + ahead % season]
    last = values[:, -1:]
    mean = np.where(np.isnan(mean), last, mean)
    deviation, shape = standardised(values[:, season:] - values[:, :-season])
    return forecast(mean, deviation[:, None] * np.sqrt(1 + ahead // season), shape)


def window(known: Panel, horizon: int, widths: Mapping[Step, int] = WINDOW, name: str = "window") -> Array:
    """Forecasts [s, h, 4]: mean and quantiles of the last periods, by the weekday's factor where steps are days."""
    values = known.values[:, -widths[known.step] :]
    ago = np.arange(-values.shape[1], 0)
    usual = known.usual(name)
    if known.step == "day" and known.season > 1:
        by = _weekdays(values, _shared(values) if usual is None else usual)
    else:
        by = np.ones((len(values), 7))
    level = values / np.maximum(by[:, ago % 7], LEAST_FACTOR)
    levels = quantiles(level, (0.1, 0.5, 0.9))
    out = np.stack([np.nanmean(level, 1), *levels], 1)[:, None, :] * by[:, np.arange(horizon) % 7, None]
    forecast: Array = np.maximum(out, 0)
    return forecast


def short_window(known: Panel, horizon: int) -> Array:
    """`window` over fewer periods."""
    return window(known, horizon, SHORT_WINDOW, "short_window")


def usual(known: Panel, widths: Mapping[Step, int]) -> Array:
    """The factor of each day of the week in the last periods of all series, day 0 the next, [7]."""
    if known.step != "day" or known.season == 1:
        return np.ones(7)
    return _shared(known.values[:, -widths[known.step] :])


def by_place(values: Array, season: int) -> Array:
    """Sums of each place in the season, place 0 the next period, [s, m]; of each row alone, to the last digit."""
    periods = values.shape[1]
    return np.stack([values[:, (at + periods) % season :: season].sum(1) for at in range(season)], 1)


def _own(values: Array) -> tuple[Array, Array]:
    """Of each series its mean of each day of the week over its mean, and how many days that is of, [s, 7]."""
    there = ~np.isnan(values)
    sold = np.nan_to_num(values)
    days = by_place(there.astype(np.float64), 7)
    level = np.maximum(sold.sum(1) / np.maximum(there.sum(1), 1), 1e-9)[:, None]
    return by_place(sold, 7) / np.maximum(days, 1e-9) / level, days


def _shared(values: Array) -> Array:
    shared: Array = _own(values)[0].mean(0)
    return shared


def _weekdays(values: Array, shared: Array) -> Array:
    """The factor of each day of the week, day 0 the next, [s, 7]: a series' own, drawn to `shared` [7]."""
    own, days = _own(values)
    sales = (values > 0).sum(1, keepdims=True)
    share = np.where(days > 0, sales / (sales + FEW), 0)
    factors: Array = share * own + (1 - share) * shared / max(float(shared.mean()), 1e-9)
    return factors
