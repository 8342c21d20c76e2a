"""Which series rise and which fall, and how sure that is: the periods ahead against as many just before."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.panel import Panel
from clickflow.forecasting.stock import total

Array = NDArray[Any]

SURE = 0.8
"""A direction of less certainty is not named."""
LEAST_TRUE = 2 / 3
"""Of the directions named in the past: where fewer came true, none is named."""


@dataclass(frozen=True)
class Trend:
    """Of each series [s]."""

    ratio: Array
    """Units ahead over units just before; NaN where nothing was sold just before."""
    rises: Array
    """Probability that more is sold ahead than just before."""

    @property
    def direction(self) -> Array:
        """1 rises, -1 falls, 0 where that is not sure."""
        return np.where(self.rises >= SURE, 1, np.where(self.rises <= 1 - SURE, -1, 0))


def forecast_trend(known: Panel, forecast: Array) -> Trend:
    """By forecasts [s, h, 4] of what follows `known`."""
    before = _last(known, forecast.shape[1])
    mean, deviation = total(forecast)
    return _trend(before, mean, deviation)


def moving_average(known: Panel, horizon: int) -> Trend:
    """The baseline: what rose from the last but one `horizon` periods to the last goes on rising."""
    now = _last(known, horizon)
    before = _last(known.before(known.periods - horizon), horizon) if known.periods > 2 * horizon else None
    full = np.full(len(now), np.nan)
    if before is not None:
        full[np.isin(np.arange(len(now)), known.running(known.periods - horizon))] = before
    past = np.nan_to_num(full, nan=0.0)
    return _trend(past, now, np.sqrt(now + past))


def precision(trend: Trend, known: Panel, actual: Array) -> tuple[int, int]:
    """How many directions were named, and how many of them the periods ahead, `actual` [s, h], bore out."""
    before, after = _last(known, actual.shape[1]), np.nansum(actual, 1)
    named = trend.direction != 0
    return int(named.sum()), int((np.sign(after - before) == trend.direction)[named].sum())


def refuted(named: int, true: int) -> bool:
    """Whether so few of the directions that were named came true that fewer than two of three do, at 97.5%."""
    return named > 0 and true / named + 2 * np.sqrt(LEAST_TRUE * (1 - LEAST_TRUE) / named) < LEAST_TRUE


def _last(known: Panel, horizon: int) -> Array:
    last: Array = np.nansum(known.values[:, -horizon:], 1)
    return last


def _trend(before: Array, mean: Array, deviation: Array) -> Trend:
    from scipy import stats

    spread = np.maximum(deviation, 1e-9)
    ratio = np.divide(mean, before, out=np.full(len(mean), np.nan), where=before > 0)
    return Trend(ratio, stats.norm.cdf((mean - before) / spread))
