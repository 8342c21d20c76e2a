"""Seasonal naive: what was sold a season ago; and the quantiles of the last seasons."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.panel import Panel, Step
from clickflow.forecasting.spread import forecast, standardised

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


def window(known: Panel, horizon: int, widths: Mapping[Step, int] = WINDOW) -> Array:
    """Forecasts [s, h, 4]: mean and quantiles of the last periods, by the weekday's factor where steps are days."""
    values = known.values[:, -widths[known.step] :]
    ago = np.arange(-values.shape[1], 0)
    by = _weekdays(values, ago) if known.step == "day" and known.season > 1 else np.ones((len(values), 7))
    level = values / np.maximum(by[:, ago % 7], LEAST_FACTOR)
    levels = np.nanquantile(level, (0.1, 0.5, 0.9), axis=1)
    out = np.stack([np.nanmean(level, 1), *levels], 1)[:, None, :] * by[:, np.arange(horizon) % 7, None]
    made: Array = np.maximum(out, 0)
    return made


def short_window(known: Panel, horizon: int) -> Array:
    """`window` over fewer periods."""
    return window(known, horizon, SHORT_WINDOW)


def _weekdays(values: Array, ago: Array) -> Array:
    """The factor of each day of the week, day 0 the next, [s, 7]: of each series, drawn to that of all."""
    there = ~np.isnan(values)
    sold = np.nan_to_num(values)
    days = np.stack([ago % 7 == day for day in range(7)], 1)
    count = np.maximum(there @ days, 1e-9)
    own = (sold @ days) / count
    level = np.maximum(sold.sum(1) / np.maximum(there.sum(1), 1), 1e-9)[:, None]
    shared = (own / level).mean(0)
    sales = (sold > 0).sum(1, keepdims=True)
    share = np.where(there @ days > 0, sales / (sales + FEW), 0)
    factors: Array = share * own / level + (1 - share) * shared / max(float(shared.mean()), 1e-9)
    return factors
