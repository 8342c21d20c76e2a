"""When people shop: hours, weekdays, season and trend, as one cumulative curve over the simulated days."""

from datetime import date

import numpy as np
from numpy.typing import NDArray

HOUR = 3_600_000_000
"""Microseconds."""
LONGEST = 2 * HOUR
"""No session lasts longer; so none that begins before the last two hours runs past the end of the log."""

DAILY = np.array([9, 5, 3, 2, 2, 3, 7, 14, 22, 29, 34, 37, 40, 38, 36, 36, 38, 42, 49, 57, 63, 58, 41, 21], np.float64)
"""Sessions by hour of the day (UTC)."""
WEEKLY = np.array([1.00, 0.97, 0.96, 0.98, 1.04, 1.28, 1.36])
"""And by weekday, Monday first."""


def hourly(start: date, days: int) -> NDArray[np.float64]:
    """[days * 24] expected share of the sessions that begin in each hour.

    The year peaks in early December; demand grows by a tenth in a year. Nothing begins in the last two hours.
    """
    hours = np.arange(days * 24)
    day = start.toordinal() - date(start.year, 1, 1).toordinal() + hours / 24
    season = 1 + 0.25 * np.cos(2 * np.pi * (day - 340) / 365.25)
    weight = DAILY[hours % 24] * WEEKLY[(start.weekday() + hours // 24) % 7] * season * (1 + 0.1 * hours / 24 / 365)
    weight[-2:] = 0.0
    return np.asarray(weight / weight.sum())


class Clock:
    """The cumulative curve and its inverse. Times are microseconds since the beginning of the log."""

    def __init__(self, start: date, days: int) -> None:
        self.share = hourly(start, days)
        self.edges = np.arange(days * 24 + 1, dtype=np.float64) * HOUR
        self.cumulative = np.concatenate(([0.0], np.cumsum(self.share)))
        self.cumulative /= self.cumulative[-1]

    def time(self, quantile: NDArray[np.float64]) -> NDArray[np.int64]:
        """The times before which these shares of the sessions begin."""
        return np.interp(quantile, self.cumulative, self.edges).astype(np.int64)

    def quantile(self, time: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share of the sessions that begin before `time`."""
        return np.interp(time, self.edges, self.cumulative)
