"""What a shop plans ahead (promotions, prices): how much more is sold where the plan says so is learned from the past,
taken off the units that the preset reads, and put on its forecasts of the days ahead.

Learned by a Poisson regression with an effect of its own for each block of periods of a series (Hausman, Hall and
Griliches 1984), so that a series that sells more, or begins to, is no effect of a plan; the season stands beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from clickflow.forecasting import ensemble
from clickflow.forecasting.ensemble import Preset
from clickflow.forecasting.mixture import rounded
from clickflow.forecasting.panel import Panel, Step, carried_on
from clickflow.sequences import plan as of_days
from clickflow.sequences.plan import PRICE

Array = NDArray[Any]

BLOCK: Mapping[Step, int] = {"day": 56, "week": 16, "month": 12}
"""Periods in which the level of a series is taken for the same."""
LARGEST = 20.0
"""Times more, or less, than usual: no plan is believed to do more."""
ROUNDS = 25
"""Of Newton's method, at most."""
NOTHING = 1.0
"""Units that weigh as much as that a plan changes nothing: a column without a sale has no effect."""
STEADY = 1e-9


@dataclass(frozen=True)
class Plan:
    """What is planned of the series of a panel, in its periods and some ahead.

    `names` [k]: of the columns; `values` float64 [s, t + h, k]: 0 where nothing is planned; of `PRICE` the price, NaN
    where none is known.
    """

    names: tuple[str, ...]
    values: Array

    def rows(self, rows: Array) -> "Plan":
        """Of some of the series."""
        return replace(self, values=self.values[rows])

    def of(self, names: tuple[str, ...]) -> "Plan":
        """With these columns: those that it has not are as usual."""
        if names == self.names:
            return self
        values = np.zeros((*self.values.shape[:2], len(names)))
        for number, name in enumerate(names):
            values[..., number] = self.values[..., self.names.index(name)] if name in self.names else 0.0
        return Plan(names, values)

    def read(self, known: Panel, horizon: int) -> Array:
        """What a model reads of a panel and of the horizon ahead, [s, t + h, k]: 0 is usual. The usual price is the
        median of a series' own past; a price ahead that is not planned is the last one.
        """
        periods = known.periods
        values = self.values[:, : periods + horizon].copy()
        if PRICE in self.names:
            at = self.names.index(PRICE)
            price = carried_on(np.where(values[..., at] > 0, values[..., at], np.nan))
            past = np.where(np.isnan(known.values), np.nan, price[:, :periods])
            usual = np.full(len(price), np.nan)
            some = ~np.isnan(past).all(1)
            usual[some] = np.nanmedian(past[some], 1)
            values[..., at] = np.nan_to_num(np.log(price / usual[:, None]))
        return np.nan_to_num(values)


@dataclass(frozen=True)
class Effects:
    """By column of a plan the logarithm of how many times as much is sold where it is 1, [k], as far as it is no
    chance, and what was seen with its standard error [k].
    """

    names: tuple[str, ...]
    believed: Array
    seen: Array
    error: Array

    def factor(self, plan: Array) -> Array:
        """How many times as much is sold under plans [..., k] as without, [...]."""
        times: Array = np.exp(np.clip(plan @ self.believed, -np.log(LARGEST), np.log(LARGEST)))
        return times

    def described(self) -> dict[str, dict[str, float]]:
        """By column how many times as much is sold where it is 1, of the price where it is a tenth lower: what was
        seen with its 95% interval, and what is believed of it.
        """
        out = {}
        for name, believed, seen, error in zip(self.names, self.believed, self.seen, self.error, strict=True):
            unit = np.log(0.9) if name == PRICE else 1.0
            low, high = sorted((seen - 1.96 * error, seen + 1.96 * error), key=lambda end: end * unit)
            times = (np.exp(np.clip(each * unit, -9.0, 9.0)) for each in (seen, low, high, believed))
            out[name] = dict(
                zip(("times", "low", "high", "used"), (round(float(each), 3) for each in times), strict=True)
            )
        return out


def said(described: Mapping[str, Mapping[str, float]]) -> str:
    """What `Effects.described` gives, in words."""
    return "; ".join(
        f"{'a price a tenth lower' if name == PRICE else name}: {effect['times']:g} times as much is sold "
        f"({effect['low']:g} to {effect['high']:g})"
        for name, effect in described.items()
    )


def of_panel(known: Panel, horizon: int, plan: of_days.Plan, series: Array) -> Plan:
    """What is planned of a panel whose series have these numbers, and of the horizon ahead; a period of several days
    has the mean of its days.
    """
    begins = known.dates(np.arange(known.periods + horizon + 1)).astype("datetime64[D]").astype(np.int64)
    values = plan.on(series, int(begins[0]), int(begins[-1] - begins[0]))
    if known.step != "day":
        said = ~np.isnan(values)
        count, total = (
            np.add.reduceat(each, begins[:-1] - begins[0], 1) for each in (said.astype(np.int64), np.nan_to_num(values))
        )
        values = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return Plan(plan.names, values)


def effects(known: Panel, plan: Plan) -> Effects:
    """What the plan did in the past of a panel; 0 where there is nothing to learn from."""
    x = plan.read(known, 0)
    fitted, spread = _regression(known, x)
    error = np.sqrt(np.maximum(spread, 0))
    chance = np.divide(error**2, fitted**2, out=np.ones(len(fitted)), where=fitted != 0)
    return Effects(plan.names, fitted * np.maximum(1 - chance, 0), fitted, error)


def _regression(known: Panel, x: Array) -> tuple[Array, Array]:
    """Coefficients of x [s, t, k], and the squares of their standard errors, which hold though all series of a period
    go together (by period, Liang and Zeger 1986).
    """
    periods, width, plans = known.periods, BLOCK[known.step], x.shape[2]
    units = np.nan_to_num(known.values)
    there = ~np.isnan(known.values)
    season = known.season if known.season <= width // 2 else 1
    place = np.arange(periods) % season
    seasons = np.broadcast_to((place[:, None] == np.arange(1, season)).astype(np.float64), (*units.shape, season - 1))
    columns = np.concatenate([x, seasons], 2)
    starts = np.union1d(0, np.arange(periods % width, periods, width))  # what is left over first, then whole blocks

    def blocks(values: Array) -> Array:
        return np.add.reduceat(values, starts, axis=1)

    def spread_over(values: Array) -> Array:
        return np.repeat(values, np.diff([*starts, periods]), axis=1)

    sold = blocks(units)
    coefficients = np.zeros(columns.shape[2])
    keep = np.concatenate([np.full(plans, NOTHING), np.full(season - 1, STEADY)])
    for _ in range(ROUNDS):
        weight = np.where(there, np.exp(np.clip(columns @ coefficients, -9, 9)), 0.0)
        total = np.maximum(blocks(weight), 1e-12)
        share = weight / spread_over(total)
        mean = np.stack([spread_over(blocks(share * columns[..., k])) for k in range(columns.shape[2])], 2)
        apart = (columns - mean) * there[..., None]
        expected = share * spread_over(sold)
        score = apart * (units - expected)[..., None]
        curve = np.einsum("st,stk,stl->kl", expected, apart, apart, optimize=True) + np.diag(keep)
        change = np.linalg.solve(curve, score.sum((0, 1)) - keep * coefficients)
        coefficients = coefficients + np.clip(change, -1, 1)
        if np.abs(change).max(initial=0) < 1e-8:
            break
    inverse = np.linalg.inv(curve)
    together = score.sum(0)  # by period, [t, k]
    spread = np.diag(inverse @ (together.T @ together) @ inverse)
    return coefficients[:plans], spread[:plans]


def without(known: Panel, factor: Array, *, whole: bool) -> Panel:
    """A panel with its units as they would be without a plan, divided by `factor` [s, t]; where all are `whole` they
    stay so: what is left of a piece is carried on to the next periods of the series, and none is lost.
    """
    values = known.values / factor
    if whole:
        sold = np.floor(np.cumsum(np.nan_to_num(values), 1) + 1e-6)
        values = np.where(np.isnan(values), np.nan, np.diff(sold, axis=1, prepend=0.0))
    return replace(known, values=values)


@dataclass(frozen=True)
class Plain:
    """What would have been sold without a plan, and by how many times each step ahead is more under it, [s, h]; None:
    there is no plan.
    """

    panel: Panel
    ahead: Array | None = None
    whole: bool = False

    def put_on(self, forecasts: Array) -> Array:
        """What the plan makes of forecasts [..., s, h, 4] without it."""
        if self.ahead is None:
            return forecasts
        out = forecasts * self.ahead[..., None]
        return np.where(self.ahead[..., None] == 1, forecasts, rounded(out) if self.whole else out)


def plain(known: Panel, horizon: int, learned: Effects | None, plan: Plan | None, *, whole: bool) -> Plain:
    """A panel without what its plan did, as was `learned` of some panel."""
    if learned is None or plan is None:
        return Plain(known)
    factor = learned.factor(plan.of(learned.names).read(known, horizon))
    return Plain(without(known, factor[:, : known.periods], whole=whole), factor[:, known.periods :], whole)


@dataclass(frozen=True)
class Planned:
    """A preset fitted to what would have been sold without a plan (`plain`), and what the plan makes of it."""

    preset: Preset
    plain: Plain
    effects: Effects | None

    def forecast(self) -> Array:
        """Forecasts [s, h, 4] as planned."""
        return self.plain.put_on(self.preset.forecast(self.plain.panel))


def fit(known: Panel, horizon: int, plan: Plan | None = None, *, seed: int = 0, network: bool = False) -> Planned:
    """The preset of a panel; with a `plan` of it and of the horizon, that of what would have been sold without."""
    with threadpool_limits(1):  # the same digits on every machine, and no waiting for a core that others use
        learned = None if plan is None else effects(known, plan)
        of = plain(known, horizon, learned, plan, whole=ensemble.whole_units(known))
        return Planned(ensemble.fit(of.panel, horizon, seed=seed, network=network), of, learned)
