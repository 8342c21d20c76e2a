"""The preset: local methods and the boosting model, mixed with weights fitted to the last periods of the past.

The quantiles of all are averaged (Lichtendahl, Grushka-Cockayne and Winkler 2013), by weights of the group that a
series is of (fast, intermittent, short) and of the level, then moved to where the last periods say that they belong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting import boosting, counts, factor, gru, linear, naive, shared
from clickflow.forecasting.backtests import Backtests, as_of, plan
from clickflow.forecasting.boosting import Boosting
from clickflow.forecasting.counts import Counts
from clickflow.forecasting.groups import GROUPS, drawn, groups
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
    factor.NAME: factor.common_factor,
}
"""What is mixed, beside what learns from all series."""
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
        factor.NAME: 1,
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
        factor.NAME: 1,
        LINEAR: 0.5,
        COUNTS: 2,
    },
    "short": {"ets": 2, "tsb": 2, "window": 2, "boosting": 2, factor.NAME: 1, LINEAR: 1, COUNTS: 2},
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
PRIOR_SINGLE: Mapping[str, float] = {"ets": 1, "sarima": 1, "theta": 1, LEVEL: 1}
"""The same of months of one fast series: what learns from all series has none but it, nor has their common factor, and
quantiles of its last periods know no course. Of days and weeks it was not tried.
"""
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
LEAST_BACKTESTED = 5
"""Series backtested, over all origins, from which on backtests say something of a group."""
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
        models = Models(self.model, self.linear, self.network, self.counts)
        read = tamed(known, self.unit)
        said = said if said and self.unit == 1 else {}
        changed = np.flatnonzero((read.values < known.values).any(1))
        if len(changed):
            few = replace(read.rows(changed), cycle=known.season)
            said = {name: _put(forecast, changed, PARTS[name](few, self.horizon)) for name, forecast in said.items()}
        return candidates(read, self.horizon, models, self.methods, said) * self.unit

    def mix(self, known: Panel, forecasts: Array) -> Array:
        """The methods' forecasts [k, s, h, 4] of `known` to one."""
        out = np.empty(forecasts.shape[1:])
        of = groups(known)
        for number, group in enumerate(GROUPS):
            rows = np.flatnonzero(of == number)
            spread = spread_out(mixed(self.weights[group], forecasts[:, rows]), self.spread[group])
            out[rows] = parted(spread, self.least[group]) if group in self.least else spread
        out[np.nansum(np.abs(known.values), 1) == 0] = 0.0  # never sold: a trace above 0 would never hold
        return rounded(out) if self.whole else out


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


@dataclass(frozen=True)
class Models:
    """What learned from all series; None: too little was known."""

    boosting: Boosting | None = None
    linear: Linear | None = None
    gru: Gru | None = None
    counts: Counts | None = None

    @property
    def by_name(self) -> dict[str, Boosting | Linear | Gru]:
        """Those that forecast by themselves."""
        models = zip(LEARNED, (self.boosting, self.linear, self.gru), strict=True)
        return {name: model for name, model in models if model}

    @property
    def names(self) -> tuple[str, ...]:
        """Of all that there are."""
        return (*self.by_name, *([COUNTS] if self.counts else []))

    def only(self, names: tuple[str, ...]) -> "Models":
        """Those of these names."""
        return Models(**{each.name: getattr(self, each.name) for each in fields(self) if each.name in names})


def learn(known: Panel, horizon: int, seed: int, network: bool) -> Models:
    """All that learns from all series, a `network` too or not, trained on all of `known`."""
    held = lags(known)
    return Models(
        boosting.fit(known, horizon, seed=seed, held=held),
        linear.fit(known, horizon, seed=seed, held=held),
        gru.fit(known, horizon, seed=seed) if network else None,
        counts.fit(known, held=held),
    )


def candidates(
    known: Panel, horizon: int, models: Models, methods: tuple[str, ...], said: Mapping[str, Array] | None = None
) -> Array:
    """What each method forecasts, [k, s, h, 4]; `said`: of those that are known already."""
    learned = models.only(methods).by_name
    shared = next((model.shared for model in learned.values()), None)
    held = None if shared is None else lags(known.as_fitted(shared))
    forecasts = dict(said or {})
    for name in methods:
        if name not in forecasts and name != COUNTS:
            forecasts[name] = learned[name].forecast(known, held) if name in learned else PARTS[name](known, horizon)
    if COUNTS in methods and models.counts:
        mean: Array = np.mean([forecasts[name][..., 0] for name in MEANS if name in forecasts], 0)
        forecasts[COUNTS] = models.counts.about(known, mean, held)
    return np.stack([forecasts[name] for name in methods])


def fit(known: Panel, horizon: int, *, seed: int = 0, network: bool = False) -> Preset:
    """Choose weights and spread at the last origins of `known`, and train on all of it; a `network` too, or not."""
    whole, unit = whole_units(known), unit_of(known)
    known = tamed(known, unit)
    look, models = plan(known, horizon), learn(known, horizon, seed, network)
    early = learn(as_of(known, look.origins[0]), horizon, seed, network) if look.origins else models
    if early.names != models.names and not look.weights:  # a spread alone is not worth a model
        look, early = Backtests(), models
    models = models.only(early.names)
    methods = (*PARTS, *models.names)
    prior = dict.fromkeys(GROUPS, PRIOR_YOUNG) if young(known) else PRIOR
    if known.step == "month" and len(known.values) == 1:
        prior = {**prior, "fast": PRIOR_SINGLE}
    asked = [(origin, early) for origin in look.origins]
    if look.year is not None:
        before = learn(as_of(known, look.year), horizon, seed, network)
        asked += [(look.year, before)] if before.names == early.names else []
    answers = ask(known, horizon, look, asked, methods)
    mixes = {
        group: chosen(answers.get(group), look, _prior(prior[group], methods), OUTSIDE[group], known.step, whole)
        for group in GROUPS
    }
    return Preset(
        methods,
        {group: mix.weights for group, mix in mixes.items()},
        {group: mix.spread for group, mix in mixes.items()},
        models.boosting,
        horizon,
        shared.of(known),
        whole,
        models.gru,
        models.linear,
        models.counts,
        unit,
        {group: mix.least for group, mix in mixes.items() if mix.least is not None},
    )


@dataclass(frozen=True)
class Answers:
    """What came at backtests, `actual` [s, h] (NaN: not known), and what each method had said, `forecasts`
    [k, s, h, 4].
    """

    actual: Array
    forecasts: Array


def ask(
    known: Panel, horizon: int, look: Backtests, asked: Sequence[tuple[int, Models]], methods: tuple[str, ...]
) -> dict[str, Answers]:
    """By group what all backtests answer; no group that hardly a series is in, or that sold nothing. `asked`: origins,
    and what had learned at each, or before it.
    """
    if not look.origins:
        return {}
    judged = known.rows(drawn(known))
    judged = replace(judged, cycle=as_of(known, look.origins[0]).season)  # the one that what learned there knows
    actual, forecasts, then, now = [], [], [], []
    for origin, models in asked:
        before, came = as_of(judged, origin), judged.following(origin, horizon)
        actual.append(np.pad(came, ((0, 0), (0, horizon - came.shape[1])), constant_values=np.nan))
        forecasts.append(candidates(before, horizon, models, methods))
        then.append(groups(before))
        now.append(groups(judged)[judged.running(origin)])
    of_all = Answers(np.concatenate(actual), np.concatenate(forecasts, 1))
    out = {}
    for number, group in enumerate(GROUPS):
        rows = np.concatenate(then) == number
        if not look.then or rows.sum() < LEAST_BACKTESTED:
            rows = np.concatenate(now) == number  # all of them were shorter then
        if rows.sum() >= LEAST_BACKTESTED and np.nansum(of_all.actual[rows]):
            out[group] = Answers(of_all.actual[rows], of_all.forecasts[:, rows])
    return out


@dataclass(frozen=True)
class Mix:
    """How a group is mixed: weights [4, methods], factors of the spread [2], and what `Preset.least` holds."""

    weights: Array
    spread: Array
    least: float | None = None


def chosen(answers: Answers | None, look: Backtests, prior: Array, outside: float, step: Step, whole: bool) -> Mix:
    """By what backtests answered, as far as that is believed; without it the prior [methods] stays."""
    weights, spread = np.tile(prior, (4, 1)), np.ones(2)
    if answers is None:
        return Mix(weights, spread)
    if look.weights:
        half, power = ALONE[step]
        several = look.horizons**power / (look.horizons**power + half**power)
        weights = fit_weights(answers.actual, answers.forecasts, prior, several)
    mix = mixed(weights, answers.forecasts)
    small = look.few and whole and few(mix)
    if look.spread[small]:
        beyond, tried = (TENTH, np.concatenate([FACTORS, NEAR_ONE])) if small else (outside, FACTORS)
        spread = fit_spread(answers.actual, mix, believed(look.horizons, step, small), beyond, tried)
    return Mix(weights, spread, fit_least(answers.actual, spread_out(mix, spread)) if whole else None)


def few(mix: Array) -> bool:
    """Whether the usual series of forecasts [s, h, 4] has a mean below `FEW`."""
    return bool(len(mix) and np.median(mix[..., 0].mean(1)) < FEW)


def believed(apart: float, step: Step, small: bool) -> Array:
    """How far the factors of the spread, below and above, are believed, [2]; `small`: of few units."""
    alone = SPREAD_ALONE[step] * np.array([SPREAD_ALONE_FEW if small else 1.0, 1.0])
    share: Array = (apart / (apart + alone)) ** 2
    return share


def _prior(of: Mapping[str, float], methods: tuple[str, ...]) -> Array:
    weight = np.array([of.get(name, 0.02) for name in methods])
    prior: Array = weight / weight.sum()
    return prior
