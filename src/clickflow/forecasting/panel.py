"""A panel: many series on one calendar, with what lies before their first and after their last period unknown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Step = Literal["day", "week", "month"]

LEVELS = (0.1, 0.5, 0.9)
"""The quantiles of a forecast, after its mean."""
SEASONS: dict[Step, int] = {"day": 7, "week": 52, "month": 12}
"""Periods after which a season comes round."""
YOUNG: dict[Step, int] = {"day": 28, "week": 16}
"""A panel whose longest series has fewer periods is young; of months none is, as a year of them shows a trend."""
CYCLES = 2
"""A panel whose longest series has fewer whole seasons has no season."""


@dataclass(frozen=True)
class Shared:
    """What all series of a panel have in common, as of when a model was fitted to it (`forecasting.shared`).

    `start`, `periods`: the panel's first period, and how many it had; `season`: periods of its season; `annual`,
    `priced`: whether a year before, and prices, are read; `factors` [m]: by method the usual factor of each place in
    the season, counted from `start` on; `level` [t]: that of all series together after each period (`factor`).
    """

    start: np.datetime64
    periods: int
    season: int
    annual: bool
    priced: bool
    factors: Mapping[str, Array]
    level: Array = field(default_factory=lambda: np.ones(1))

    def usual_at(self, method: str, number: int) -> Array:
        """The factors as of a period, counted from `start` on, which has place 0, [m]."""
        return np.roll(self.factors[method], -number)


@dataclass(frozen=True)
class Panel:
    """Series of one step.

    `values` float64 [s, t]: units a period; NaN before a series began and after it ended, nowhere between.
    `price` float64 [s, t]: the price in force, NaN where none is known yet; or None.
    `start`: the first period, as `datetime64[D]`.
    `groups` int64 [s]: which series are alike beside what they sell (a category); or None.
    `shared`: what a model was fitted with that reads them; None: they say it themselves, together.
    `cycle`: periods of a season where that is given, 1 for none; None: as `shared` or their length say.
    """

    values: Array
    step: Step
    start: np.datetime64
    ids: tuple[str, ...] = ()
    price: Array | None = None
    groups: Array | None = None
    shared: Shared | None = None
    cycle: int | None = None

    @property
    def first(self) -> Array:
        """Where each series begins, int64 [s]."""
        first: Array = np.argmax(~np.isnan(self.values), axis=1)
        return first

    @property
    def periods(self) -> int:
        """How many."""
        return int(self.values.shape[1])

    @property
    def season(self) -> int:
        """Periods of a season, 1 where the panel is too short to have one."""
        if self.cycle is not None:
            return self.cycle
        if self.shared is not None:
            return self.shared.season
        return SEASONS[self.step] if longest(self) >= CYCLES * SEASONS[self.step] else 1

    def usual(self, method: str) -> Array | None:
        """The factors that all series share, place 0 the next period, [m]; None where they say it themselves."""
        if self.shared is None:
            return None
        return self.shared.usual_at(method, since(self.shared.start, self.start, self.step) + self.periods)

    def as_fitted(self, shared: Shared) -> "Panel":
        """As a model reads it that was fitted with `shared`: from the first period on that was known then, and no
        fewer periods. So every series is read alike, whichever are beside it.
        """
        own = since(shared.start, self.start, self.step) + self.periods
        more = max(own, shared.periods) - self.periods

        def wide(values: Array) -> Array:
            padded = np.pad(values, ((0, 0), (max(more, 0), 0)), constant_values=np.nan)
            return np.ascontiguousarray(padded[:, max(-more, 0) :])

        price = np.full(self.values.shape, np.nan) if self.price is None else self.price
        return replace(
            self,
            values=wide(self.values),
            price=wide(price) if shared.priced else None,
            start=dates(self.start, self.step, np.array([-more]))[0],
            shared=shared,
        )

    def before(self, origin: int) -> "Panel":
        """What was known at `origin`: its first `origin` periods, of the series that ran up to it."""
        rows = self.running(origin)
        return self.rows(rows)._until(origin)

    def running(self, origin: int) -> Array:
        """The series that have a value in the period before `origin`, as indexes."""
        return np.flatnonzero(~np.isnan(self.values[:, origin - 1]))

    def following(self, origin: int, horizon: int) -> Array:
        """What came after `origin`, of the series that ran up to it, float64 [s, h]; NaN where it is not known."""
        return self.values[self.running(origin), origin : origin + horizon]

    def not_negative(self) -> tuple["Panel", int]:
        """With 0 where fewer were sold than came back, and in how many periods that was so."""
        below = int(np.less(self.values, 0).sum())
        return replace(self, values=np.maximum(self.values, 0)), below

    def rows(self, rows: Array) -> "Panel":
        """Some of the series."""
        return replace(
            self,
            values=self.values[rows],
            ids=tuple(self.ids[row] for row in rows) if self.ids else (),
            price=None if self.price is None else self.price[rows],
            groups=None if self.groups is None else self.groups[rows],
        )

    def _until(self, origin: int) -> "Panel":
        price = None if self.price is None else self.price[:, :origin]
        return replace(self, values=self.values[:, :origin], price=price)

    def dates(self, periods: Array) -> Array:
        """The first day of each of these periods, counted from the panel's first, which may lie beyond its end."""
        return dates(self.start, self.step, periods)


def longest(panel: Panel) -> int:
    """Periods of its longest series."""
    return int((~np.isnan(panel.values)).sum(1).max(initial=0))


def young(panel: Panel) -> bool:
    """Whether no series is long enough to say more than about where its level is."""
    return longest(panel) < YOUNG.get(panel.step, 0)


def dates(start: np.datetime64, step: Step, periods: Array) -> Array:
    """The first day of each period, counted from the one that begins at `start`, as `datetime64[D]`."""
    if step == "month":
        months: Array = (start.astype("datetime64[M]") + periods).astype("datetime64[D]")
        return months
    return start + np.asarray(periods) * (7 if step == "week" else 1)


def since(start: np.datetime64, day: np.datetime64, step: Step) -> int:
    """Whole periods from `start` to `day`."""
    if step == "month":
        return int((day.astype("datetime64[M]") - start.astype("datetime64[M]")).astype(np.int64))
    return int((day.astype("datetime64[D]") - start.astype("datetime64[D]")).astype(np.int64)) // (
        7 if step == "week" else 1
    )


def period(days: Array, step: Step) -> Array:
    """The number of the period that each day lies in: days since 1970, weeks from Monday on, months."""
    if step == "month":
        return days.astype("datetime64[M]").astype(np.int64)
    since = days.astype("datetime64[D]").astype(np.int64)
    return since if step == "day" else (since + 3) // 7  # 1970-01-01 was a Thursday


def begin(number: int, step: Step) -> np.datetime64:
    """The first day of a period, by the number that `period` gives."""
    if step == "month":
        return dates(np.datetime64("1970-01-01"), step, np.array([number]))[0]  # type: ignore[no-any-return]
    return np.datetime64(number if step == "day" else number * 7 - 3, "D")


def panel(
    keys: Sequence[str] | Array,
    days: Array,
    units: Array,
    *,
    step: Step,
    price: Array | None = None,
    to_the_end: bool | None = None,
) -> Panel:
    """A panel of rows (key, day, units): summed by key and period, zero in the periods between that no row names.

    `to_the_end`: series run to the last period of all; False: each to its own last row; None: to the end where rows
    are missing between, as then a missing row says that nothing was sold, and otherwise to its own.
    """
    ids, rows = np.unique(np.asarray(keys), return_inverse=True)
    number = period(np.asarray(days, "datetime64[D]"), step)
    low = int(number.min())
    at, width = number - low, int(number.max()) - low + 1
    shape = (len(ids), width)
    held = np.zeros(shape, bool)
    held[rows, at] = True
    values = np.zeros(shape)
    np.add.at(values, (rows, at), np.asarray(units, np.float64))
    first, last = np.argmax(held, 1), width - 1 - np.argmax(held[:, ::-1], 1)
    if to_the_end is None:
        to_the_end = bool((held.sum(1) < last - first + 1).any())
    span = np.arange(width)
    outside = span < first[:, None]
    if not to_the_end:
        outside |= span > last[:, None]
    values[outside] = np.nan
    prices = None if price is None else _prices(rows, at, np.asarray(price, np.float64), shape)
    return Panel(values, step, begin(low, step), tuple(map(str, ids)), prices)


def _prices(rows: Array, at: Array, price: Array, shape: tuple[int, int]) -> Array:
    """The mean price of each period, then carried on to the periods that have none."""
    known = np.isfinite(price) & (price > 0)
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, (rows[known], at[known]), price[known])
    np.add.at(count, (rows[known], at[known]), 1)
    return carried_on(np.divide(total, count, out=np.full(shape, np.nan), where=count > 0))


def carried_on(values: Array) -> Array:
    """Values [s, t], NaN where none is known, with the last known one in its place; NaN before the first."""
    latest = np.maximum.accumulate(np.where(np.isnan(values), -1, np.arange(values.shape[1])), axis=1)
    return np.where(latest >= 0, np.take_along_axis(values, np.maximum(latest, 0), 1), np.nan)


def whole_periods(days: Array, step: Step) -> Array:
    """Which rows [n] lie in a period that these days cover to its end, bool: not those of the first and the last week
    or month where a log of days begins or ends inside it. Days that stand for whole periods, one a period (its first,
    its last, a 15th), all do.
    """
    days = np.asarray(days, "datetime64[D]")
    number = period(days, step)
    offset = (days - dates(np.datetime64("1970-01-01") - (3 if step == "week" else 0), step, number)).astype(np.int64)
    if step == "day" or len(np.unique(offset)) <= 2 or len(np.unique(days)) == len(np.unique(number)):
        return np.ones(len(days), bool)
    first, last = number.min(), number.max()
    out: Array = number > first - 1
    if offset[number == first].min() > 0:
        out &= number > first
    if period(days.max() + 1, step) == last:
        out &= number < last
    return out
