"""The preset: local methods and the boosting model, mixed with weights fitted to the last periods of the past.

The quantiles of all are averaged (Lichtendahl, Grushka-Cockayne and Winkler 2013), by weights of the group that a
series is of (fast, intermittent, short) and of the level, then moved to where the last periods say that they belong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting import boosting, counts, gru, linear, naive, shared
from clickflow.forecasting.boosting import Boosting
from clickflow.forecasting.counts import Counts
from clickflow.forecasting.gru import Gru
from clickflow.forecasting.lags import lags
from clickflow.forecasting.level import seasonal_level
from clickflow.forecasting.linear import Linear
from clickflow.forecasting.local import LOCAL, Method
from clickflow.forecasting.mixture import (
    FACTORS,
    NEAR_ONE,
    TENTH,
    fit_least,
    fit_spread,
    fit_weights,
    mixed,
    parted,
    rounded,
    spread_out,
)
from clickflow.forecasting.panel import Panel, Shared, Step, young

Array = NDArray[Any]

BOOSTING, LINEAR, GRU = LEARNED = ("boosting", "linear", "gru")
"""What learns from all series."""
LEVEL, COUNTS = "seasonal_level", "counts"
MEANS = ("tsb", LEVEL, BOOSTING, LINEAR)
"""The methods about whose mean, together, `COUNTS` spreads."""
PARTS: Mapping[str, Method] = {
    **LOCAL,
    "window": naive.window,
    "short_window": naive.short_window,
    LEVEL: seasonal_level,
}
"""What is mixed, beside what learns from all series."""
GROUPS = ("fast", "intermittent", "short")
INTERMITTENT = 0.3
"""Share of zeros from which on a series is intermittent."""
SHORT = {"day": 28, "week": 12, "month": 14}
"""Fewer periods are few."""
BACKTESTS = 4
"""Origins before the end at which all methods are asked, where there are so many."""
BRIEF = 5
"""Periods before the first origin of a panel that is too short for others."""
BEFORE = {"day": (2, 3), "week": (79, 100), "month": (2, 3)}
"""Share of the panel that lies before the first of them: weeks have few years, and half a year less is another past."""
PRIOR: Mapping[str, Mapping[str, float]] = {
    "fast": {
        "ets": 2,
        "sarima": 2,
        "boosting": 2,
        "seasonal_naive": 0.5,
        "tsb": 0.5,
        "window": 1,
        LEVEL: 1,
        "theta": 1,
        LINEAR: 2,
        COUNTS: 3,
        GRU: 1,
    },
    "intermittent": {
        "tsb": 2,
        "window": 3,
        "short_window": 1,
        "boosting": 2.5,
        "croston_sba": 0.5,
        LINEAR: 0.5,
        COUNTS: 2,
    },
    "short": {"ets": 2, "tsb": 2, "window": 2, "boosting": 2, LINEAR: 1, COUNTS: 2},
}
"""Weights of the methods, up to a factor, before anything is known of the panel."""
PRIOR_YOUNG: Mapping[str, float] = {
    "ets": 1,
    "sarima": 0.5,
    "croston_sba": 2,
    "tsb": 2,
    "theta": 0.5,
    "window": 1.5,
    LEVEL: 1,
    "boosting": 0.5,
    LINEAR: 0.5,
    COUNTS: 3,
}
"""The same of a panel that is `young`, of all groups: what follows a level, and little of what learns a course."""
ALONE = {"day": (0.5, 1), "week": (0.5, 1), "month": (2.5, 3)}
"""Horizons backtested whose weights count as much as the prior's, and the power that they count with: what is wrong
with one month is so for all series, so weights of little more than one horizon of months are hardly believed.
"""
SPREAD_ALONE = {"day": 0.5, "week": 1.5, "month": 4.0}
"""The same for the spread."""
FEW = 10.0
"""Whole units of a smaller mean: what lies below their lower quantile is mostly the chance of one sale more or less,
and that is not of the month. Days and weeks have backtests enough.
"""
SPREAD_ALONE_FEW = 0.15
"""Times so much is `SPREAD_ALONE` of their lower quantile."""
LEAST_ASKED = 5
"""Series asked, over all origins, from which on backtests say something of a group."""
ASKED, ASKED_GROUP = 1_000, 200
"""Series that backtests ask about, of more about so many, and of a group no fewer: more choose no other weights, and
take minutes.
"""
OUTSIDE: Mapping[str, float] = {"fast": 0.085, "intermittent": 0.1, "short": 0.1}
"""A tenth on either side; less where the weights, chosen on the same values, fit them closer than the next ones."""
SPIKE = 10.0
"""Values of a series more times its usual largest one than this are read as so much: one order of a million would else
be half of what some method forecasts, and so of the mixture.
"""
USUAL_LARGEST = 0.95
"""Share of a series' sales that are no larger than its usual largest one."""
FEW_SALES = 5
"""Sales of a series from which on it has one."""


@dataclass(frozen=True)
class Preset:
    """What forecasts: methods, weights by group [4, methods], one of each for the mean and the levels, factors of the
    spread by group [2], the boosting model, and what the panel said that they were fitted to: of a series asked about
    nothing is read but itself.
    """

    methods: tuple[str, ...]
    weights: Mapping[str, Array]
    spread: Mapping[str, Array]
    model: Boosting | None
    horizon: int
    shared: Shared
    whole: bool = False
    """Whether quantiles are whole, as the units are."""
    network: Gru | None = None
    linear: Linear | None = None
    counts: Counts | None = None
    unit: float = 1.0
    """What is one to the methods: less than 1 where usual sales are (`unit_of`)."""
    least: Mapping[str, float] = field(default_factory=dict)
    """By group the mean from which on lower quantiles below 1 are above 0 (`fit_least`); none: left as they are."""

    def forecast(self, known: Panel) -> Array:
        """Forecasts [s, h, 4] of all series of `known`: mean, then `LEVELS`; ordered, and none negative."""
        known = known.as_fitted(self.shared)
        return self.mix(known, self.each(known))

    def each(self, known: Panel, said: Mapping[str, Array] | None = None) -> Array:
        """What each method forecasts, [k, s, h, 4]; `said`: what local methods forecast of `known` as it is."""
        learned, read = (self.model, self.linear, self.network), tamed(known, self.unit)
        said = said if said and self.unit == 1 else {}
        changed = np.flatnonzero((read.values < known.values).any(1))
        if len(changed):
            few = replace(read.rows(changed), cycle=known.season)
            said = {name: _put(forecast, changed, PARTS[name](few, self.horizon)) for name, forecast in said.items()}
        return candidates(read, self.horizon, learned, self.counts, self.methods, said) * self.unit

    def mix(self, known: Panel, forecasts: Array) -> Array:
        """The methods' forecasts [k, s, h, 4] of `known` to one."""
        out = np.empty(forecasts.shape[1:])
        of = groups(known)
        for number, group in enumerate(GROUPS):
            rows = np.flatnonzero(of == number)
            made = spread_out(mixed(self.weights[group], forecasts[:, rows]), self.spread[group])
            out[rows] = parted(made, self.least[group]) if group in self.least else made
        out[np.nansum(np.abs(known.values), 1) == 0] = 0.0  # never sold: a trace above 0 would never hold
        return rounded(out) if self.whole else out


def groups(known: Panel) -> Array:
    """The group of each series, as an index of `GROUPS`."""
    there = ~np.isnan(known.values)
    length = there.sum(1)
    zeros = (known.values == 0).sum(1) / np.maximum(length, 1)
    return np.where(length < SHORT[known.step], 2, np.where(zeros >= INTERMITTENT, 1, 0))


def whole_units(known: Panel) -> bool:
    """Whether all units are whole."""
    return not np.nansum(np.abs(known.values - np.round(known.values)))


def _put(forecast: Array, rows: Array, others: Array) -> Array:
    out = forecast.copy()
    out[rows] = others
    return out


def tamed(known: Panel, unit: float = 1.0) -> Panel:
    """As the methods read it: no value above `SPIKE` times the usual largest one of its series, and in `unit`s."""
    sold = np.sort(np.where(known.values > 0, known.values, np.inf), 1)
    count = (known.values > 0).sum(1)
    at = (USUAL_LARGEST * np.maximum(count - 1, 0)).astype(np.int64)
    usual = np.where(count >= FEW_SALES, sold[np.arange(len(sold)), at], np.inf)
    return replace(known, values=np.minimum(known.values, SPIKE * usual[:, None]) / unit)


def unit_of(known: Panel) -> float:
    """1, or the power of ten by which usual sales that are smaller are ten or more: what methods do not tell from
    nothing is no matter of kilograms or tons.
    """
    sold = known.values[known.values > 0]
    usual = float(np.median(sold)) if len(sold) else 1.0
    return 1.0 if usual >= 1 else float(10.0 ** (np.floor(np.log10(usual)) - 1))


Learned = tuple[Boosting | None, Linear | None, Gru | None]
"""In the order of `LEARNED`."""


def candidates(
    known: Panel,
    horizon: int,
    learned: Learned,
    about: Counts | None,
    methods: tuple[str, ...],
    said: Mapping[str, Array] | None = None,
) -> Array:
    """What each method forecasts, [k, s, h, 4]; `said`: of those that are known already."""
    models = {name: model for name, model in zip(LEARNED, learned, strict=True) if model and name in methods}
    shared = next((model.shared for model in models.values()), None)
    held = None if shared is None else lags(known.as_fitted(shared))
    forecasts = dict(said or {})
    for name in methods:
        if name not in forecasts and name != COUNTS:
            forecasts[name] = models[name].forecast(known, held) if name in models else PARTS[name](known, horizon)
    if about:
        mean: Array = np.mean([forecasts[name][..., 0] for name in MEANS if name in forecasts], 0)
        forecasts[COUNTS] = about.about(known, mean, held)
    return np.stack([forecasts[name] for name in methods])


def fit(known: Panel, horizon: int, *, seed: int = 0, network: bool = False) -> Preset:
    """Choose weights and spread at the last origins of `known`, and train on all of it; a `network` too, or not."""
    whole, unit = whole_units(known), unit_of(known)
    known = tamed(known, unit)

    def learn(panel: Panel) -> tuple[Learned, Counts | None]:
        held = lags(panel)
        return (
            boosting.fit(panel, horizon, seed=seed, held=held),
            linear.fit(panel, horizon, seed=seed, held=held),
            gru.fit(panel, horizon, seed=seed) if network else None,
        ), counts.fit(panel, held=held)

    origins, (last, about) = backtests(known, horizon), learn(known)
    seasons = bool(origins)
    origins = origins or backtests(known, horizon, seasons=False)
    brief = not origins
    origins = origins or brief_backtests(known, horizon)
    early, then = learn(as_of(known, origins[0])) if origins else (last, about)
    lost = [each is None for each in (*early, then)] != [each is None for each in (*last, about)]
    if lost and not seasons and not brief:
        origins, early, then = [], last, about
    about = about if then else None
    model, line, net = last = _both(last, early)
    learned = (name for name, each in zip((*LEARNED, COUNTS), (*last, about), strict=True) if each)
    methods = (*PARTS, *learned)
    prior = dict.fromkeys(GROUPS, PRIOR_YOUNG) if young(known) else PRIOR
    weights = {group: np.tile(_prior(prior[group], methods), (4, 1)) for group in GROUPS}
    spread = {group: np.ones(2) for group in GROUPS}
    least: dict[str, float] = {}
    apart = 1 + (origins[-1] - origins[0]) / horizon if origins else 0.0  # horizons that the backtests cover
    if brief and origins:
        apart = (known.periods - origins[0]) / horizon
    half, power = ALONE[known.step]
    several = apart**power / (apart**power + half**power)
    judged = known.rows(drawn(known))
    if origins:  # what learned at the first of them knows the season that was known there
        judged = replace(judged, cycle=as_of(known, origins[0]).season)
    tried = [_backtest(judged, origin, horizon, early, then if about else None, methods) for origin in origins]
    of_now = groups(judged)
    now = [of_now[judged.running(origin)] for origin in origins]
    for number, group in enumerate(GROUPS):
        then_of = [of for *_, of in tried] if seasons else now
        if sum(int((of == number).sum()) for of in then_of) < LEAST_ASKED:
            then_of = now  # all of them were shorter then
        picked = [
            (actual[of == number], forecasts[:, of == number])
            for (actual, forecasts, _), of in zip(tried, then_of, strict=True)
        ]
        if sum(len(actual) for actual, _ in picked) < LEAST_ASKED:
            continue
        actual = np.concatenate([actual for actual, _ in picked])
        forecasts = np.concatenate([forecasts for _, forecasts in picked], 1)
        if not np.nansum(actual):
            continue
        if seasons or brief:
            weights[group] = fit_weights(actual, forecasts, weights[group][0], several)
        mix = mixed(weights[group], forecasts)
        small = whole and few(mix) and (known.step == "month" or not seasons)
        sure = seasons or small != brief  # few units of a brief past: `fit_least` says more of them
        wide = believed(apart, known.step, small) if sure else np.zeros(2)
        factors = np.concatenate([FACTORS, NEAR_ONE]) if small else FACTORS
        spread[group] = fit_spread(actual, mix, wide, TENTH if small else OUTSIDE[group], factors)
        mean = fit_least(actual, spread_out(mix, spread[group])) if whole else None
        if mean is not None:
            least[group] = mean
    return Preset(methods, weights, spread, model, horizon, shared.of(known), whole, net, line, about, unit, least)


def drawn(known: Panel) -> Array:
    """The series that backtests ask about, [s]: all, or evenly some of each group where they are very many, and the
    longest, which says whether there is a season.
    """
    every, of = -(-len(known.values) // ASKED), groups(known)
    rows = [np.flatnonzero(of == number) for number in range(len(GROUPS))]
    some = [row[:: max(1, min(every, len(row) // ASKED_GROUP))] for row in rows]
    return np.unique(np.concatenate([*some, [np.argmax((~np.isnan(known.values)).sum(1))]]))


def few(mix: Array) -> bool:
    """Whether the usual series of forecasts [s, h, 4] has a mean below `FEW`."""
    return bool(len(mix) and np.median(mix[..., 0].mean(1)) < FEW)


def believed(apart: float, step: Step, small: bool) -> Array:
    """How far the factors of the spread, below and above, are believed, [2]; `small`: of few units."""
    alone = SPREAD_ALONE[step] * np.array([SPREAD_ALONE_FEW if small else 1.0, 1.0])
    share: Array = (apart / (apart + alone)) ** 2
    return share


def backtests(known: Panel, horizon: int, *, seasons: bool = True) -> list[int]:
    """Origins inside the panel, the first one first, each with a whole horizon after it and enough before it.

    A horizon apart, or nearer, so that `BEFORE` of the panel lies before the first: what is chosen on a much shorter
    past does not hold for this one. Without `seasons` there need be none before the first: no weights are chosen by
    such origins, but the chance of a sale more or less is as large in them.
    """
    season = 2 * known.season if known.step == "month" else known.season
    least = max(season if seasons else 0, SHORT[known.step] // 2) + 2
    last = known.periods - horizon
    if last < least:
        return []
    share, of = BEFORE[known.step]
    room = last - max(least, known.periods * share // of)
    apart = min(max(room // (BACKTESTS - 1), 1), horizon)
    at = (last - number * apart for number in range(BACKTESTS))
    return sorted(origin for origin in at if origin >= least and len(known.running(origin)))


def brief_backtests(known: Panel, horizon: int) -> list[int]:
    """Origins of a panel that is too short for a whole horizon after one and enough before it, the first one first: in
    its second half, with a third of it after the last. They choose weights, by the steps ahead that are known, and
    which lower quantiles are above 0.
    """
    last = known.periods - max(1, min(horizon, known.periods // 3))
    least = max(known.periods // 2, BRIEF)
    return [at for at in range(max(last - BACKTESTS + 1, least), last + 1) if len(known.running(at))]


def _both(late: Learned, early: Learned) -> Learned:
    """What learned from all and from what was known earlier, too."""
    (model, line, net), then = late, [each is not None for each in early]
    return model if then[0] else None, line if then[1] else None, net if then[2] else None


def as_of(known: Panel, origin: int) -> Panel:
    """What was known at `origin`, read with the season of `known` where it was as long as that: weights are of methods
    that read a season or not as they will.
    """
    before = known.before(origin)
    return replace(before, cycle=known.season) if before.periods > known.season + 2 else before


def _backtest(
    known: Panel, origin: int, horizon: int, learned: Learned, about: Counts | None, methods: tuple[str, ...]
) -> tuple[Array, Array, Array]:
    """What came [s, h] (NaN after the panel's end), what each method said [k, s, h, 4], and the groups [s], as of an
    origin.
    """
    before = as_of(known, origin)
    actual = known.following(origin, horizon)
    actual = np.pad(actual, ((0, 0), (0, horizon - actual.shape[1])), constant_values=np.nan)
    return actual, candidates(before, horizon, learned, about, methods), groups(before)


def _prior(of: Mapping[str, float], methods: tuple[str, ...]) -> Array:
    weight = np.array([of.get(name, 0.02) for name in methods])
    prior: Array = weight / weight.sum()
    return prior
