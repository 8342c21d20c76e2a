"""What the boosting model reads: lags, windows, season, calendar and price of a series as of an origin.

Everything is taken from periods before the origin, and divided by the series' level there, so that one model serves
series that sell ten and ten thousand.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.panel import Panel
from clickflow.forecasting.smoothing import Smoothed, smooth

Array = NDArray[Any]

RECENT = {"day": 8, "week": 8, "month": 12}
"""Values before the origin that are read one by one."""
WINDOWS = {"day": (7, 14, 28, 56, 91, 182), "week": (2, 4, 8, 13, 26, 52), "month": (2, 3, 6, 12, 24)}
LEVEL = {"day": 56, "week": 16, "month": 12}
"""Periods whose mean is the level."""
FEW = 6
"""Sales in these periods from which on their mean counts more than that of the whole series."""
YEAR = {"day": 364, "week": 52, "month": 12}
SHORTEST = 7
SEASONS_BACK = 4
"""Values a season apart, before the target, that are read one by one."""


@dataclass(frozen=True)
class Lags:
    """A panel with its running sums and smoothed states, from which the features of any origin are looked up."""

    panel: Panel
    sums: Array
    """[s, t + 1]: of the values before each period."""
    squares: Array
    zeros: Array
    first: Array
    since: Array
    """[s, t + 1]: periods since the last sale, before each period."""
    smoothed: Smoothed
    """With the season of a week alone: that of a year stands before its first cycles are over, and would tell them."""
    missed: Array
    """[s, t + 1]: of the squares of its errors one step ahead, before each period."""
    slow: Array
    """[s, t]: level of a slow smoothing."""
    annual: bool
    """Whether a year before the target is read."""

    def level(self, rows: Array, origins: Array) -> Array:
        """What values of a series are divided by, as of these origins [n]; never 0."""
        width = LEVEL[self.panel.step]
        mean = self.window(self.sums, rows, origins, width)
        whole = self.window(self.sums, rows, origins, self.panel.periods)
        sales = (1 - self.window(self.zeros, rows, origins, width)) * np.minimum(origins - self.first[rows], width)
        share = sales / (sales + FEW)
        both: Array = share * mean + (1 - share) * whole
        return np.maximum(both, 1e-3)

    def window(self, sums: Array, rows: Array, origins: Array, width: int) -> Array:
        """The mean over the last periods before each origin, of those in which the series is."""
        low = np.maximum(origins - width, self.first[rows])
        mean: Array = (sums[rows, origins] - sums[rows, low]) / np.maximum(origins - low, 1)
        return mean

    def value(self, rows: Array, at: Array, origins: Array) -> Array:
        """Values at these periods; NaN where they are not before the origin, or before the series began."""
        there = (at < origins) & (at >= self.first[rows])
        return np.where(there, self.panel.values[rows, np.clip(at, 0, self.panel.periods - 1)], np.nan)

    def ratio(self, rows: Array, origins: Array, target: Array) -> Array:
        """What the season makes of the level at `target` [n], by the cycles that were over before each origin: values
        a season apart over the mean of the season around each; NaN where there is none.
        """
        season = self.panel.season
        back = np.maximum(-(-(target - origins + 1) // season), 1) * season
        sold, usual = np.zeros(len(rows)), np.zeros(len(rows))
        for k in range(SEASONS_BACK):
            at = target - back - k * season
            low = np.maximum(at - season // 2, self.first[rows])
            high = np.minimum(low + season, origins)
            low = np.maximum(np.minimum(low, high - season), self.first[rows])
            there = (at >= self.first[rows]) & (high - low >= season * 3 // 4)
            mean = (self.sums[rows, np.maximum(high, 0)] - self.sums[rows, low]) / np.maximum(high - low, 1)
            sold += np.where(there, self.panel.values[rows, np.maximum(at, 0)], 0.0)
            usual += np.where(there, mean, 0.0)
        ratio: Array = np.divide(sold, usual, out=np.full(len(rows), np.nan), where=usual > 0)
        return ratio

    def seasonal(self, rows: Array, origins: Array, target: Array) -> Array:
        """`ratio` of the target times the level of the last quarter of a season without its own; NaN as there."""
        sold, usual = np.zeros(len(rows)), np.zeros(len(rows))
        for lag in range(1, max(self.panel.season // 4, 2) + 1):
            own, value = self.ratio(rows, origins, origins - lag), self.value(rows, origins - lag, origins)
            there = ~np.isnan(own) & ~np.isnan(value)
            sold += np.where(there, value, 0.0)
            usual += np.where(there, own, 0.0)
        level = np.divide(sold, usual, out=np.full(len(rows), np.nan), where=usual > 0)
        expected: Array = level * self.ratio(rows, origins, target)
        return expected

    def table(self, rows: Array, origins: Array, steps: Array) -> Array:
        """Features float32 [n, f] of the value `steps` (from 1 on) periods after each origin, whose last known period
        is origin - 1.
        """
        panel = self.panel
        level = self.level(rows, origins)
        target = origins + steps - 1
        columns: list[Array] = [steps, np.log(level), origins - self.first[rows]]
        columns += [self.value(rows, origins - lag, origins) / level for lag in range(1, RECENT[panel.step] + 1)]
        season = panel.season
        if season > 1:
            back = -(-steps // season) * season
            apart = [self.value(rows, target - back - k * season, origins) / level for k in range(SEASONS_BACK)]
            columns += apart
            stack = np.stack(apart)
            count = np.maximum((~np.isnan(stack)).sum(0), 1)
            columns.append(np.nansum(stack, 0) / count)
        if season > SHORTEST:
            columns += [self.ratio(rows, origins, target), self.seasonal(rows, origins, target) / level]
        if self.annual:
            year = YEAR[panel.step]
            back = -(-steps // year) * year
            around = np.stack([self.value(rows, target - back + k, origins) for k in (-1, 0, 1)])
            columns += [around[1] / level, np.nansum(around, 0) / np.maximum((~np.isnan(around)).sum(0), 1) / level]
            then = origins - back
            inside = then - LEVEL[panel.step] // 2 >= self.first[rows]
            old = self.window(self.sums, rows, np.maximum(then, 0), LEVEL[panel.step] // 2)
            columns.append(np.where(inside, around[1] / np.maximum(old, 1e-3), np.nan))
        for width in WINDOWS[panel.step]:
            mean = self.window(self.sums, rows, origins, width)
            square = self.window(self.squares, rows, origins, width)
            columns += [mean / level, np.sqrt(np.maximum(square - mean**2, 0)) / level]
            columns.append(self.window(self.zeros, rows, origins, width))
        columns.append(self.since[rows, origins])
        columns.append(self.smoothed.ahead(rows, origins, steps) / level)
        columns.append(self.smoothed.level[rows, origins - 1] / level)
        columns.append(self.slow[rows, origins - 1] / level)
        columns += self._calendar(target)
        if panel.price is not None:
            now = panel.price[rows, origins - 1]
            before = panel.price[rows, np.maximum(origins - 1 - LEVEL[panel.step], 0)]
            with np.errstate(divide="ignore", invalid="ignore"):  # what cost nothing before has no ratio
                ratio = now / before
            columns += [ratio, np.log(np.maximum(now, 1e-6))]
        return np.stack(columns, 1).astype(np.float32)

    def _calendar(self, target: Array) -> list[Array]:
        dates = self.panel.dates(target)
        month = dates.astype("datetime64[M]")
        day = (dates - month.astype("datetime64[D]")).astype(np.int64)
        of_year = (dates - dates.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64)
        if self.panel.step == "month":
            return [month.astype(np.int64) % 12]
        parts = [day, np.minimum(np.abs(of_year - 358), 60)]
        if self.panel.step == "day":
            parts.append((dates.astype(np.int64) + 3) % 7)
        if self.annual:
            parts.append(of_year // 7)
        return parts


def lags(panel: Panel) -> Lags:
    """The running sums and states of a panel whose series all reach its last period."""
    values = np.nan_to_num(panel.values)
    zero = (panel.values == 0).astype(np.float64)
    periods = panel.periods
    sold = values > 0
    latest = np.maximum.accumulate(np.where(sold, np.arange(periods), -1), 1)
    first, smoothed = panel.first, smooth(panel.values, panel.season if panel.season <= SHORTEST else 1)
    latest = np.maximum(latest, first[:, None] - 1)
    since = np.concatenate([np.zeros((len(values), 1)), np.arange(periods) - latest], 1)
    return Lags(
        panel=panel,
        sums=_sums(values),
        squares=_sums(values**2),
        zeros=_sums(zero),
        first=first,
        since=since,
        smoothed=smoothed,
        missed=_sums(np.nan_to_num(smoothed.errors) ** 2),
        slow=_slow(panel.values, 0.05 if panel.step == "day" else 0.15),
        annual=panel.shared.annual if panel.shared else annual(panel),
    )


def annual(panel: Panel) -> bool:
    """Whether most series are long enough for a year before to be read."""
    lengths = panel.periods - panel.first
    return bool(np.median(lengths) >= 1.6 * YEAR[panel.step]) and panel.step != "month"


def _sums(values: Array) -> Array:
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, 1)], 1)


def _slow(values: Array, alpha: float) -> Array:
    """Level of a smoothing by `alpha`, begun as a mean of what there is."""
    out = np.zeros(values.shape)
    level, count = np.zeros(len(values)), np.zeros(len(values))
    for t in range(values.shape[1]):
        there = ~np.isnan(values[:, t])
        count += there
        weight = np.maximum(alpha, 1 / np.maximum(count, 1))
        level = np.where(there, level + weight * (np.nan_to_num(values[:, t]) - level), level)
        out[:, t] = level
    return out
