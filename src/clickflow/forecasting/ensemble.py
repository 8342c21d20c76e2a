"""The preset: local methods and the boosting model, mixed by weights that the last periods before the origin chose.

The quantiles of all are averaged (Lichtendahl, Grushka-Cockayne and Winkler 2013), by weights of the group that a
series is of (fast, intermittent, short), then moved to where the last periods say that they belong.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting import boosting
from clickflow.forecasting.boosting import Boosting
from clickflow.forecasting.local import LOCAL
from clickflow.forecasting.panel import LEVELS, Panel
from clickflow.forecasting.scores import pinball

Array = NDArray[Any]

BOOSTING = "boosting"
GROUPS = ("fast", "intermittent", "short")
INTERMITTENT = 0.3
"""Share of zeros from which on a series is intermittent."""
SHORT = {"day": 28, "week": 12, "month": 14}
"""Fewer periods are few."""
BACKTESTS = 4
"""Origins before the end at which all methods are asked, where there are so many."""
PRIOR: Mapping[str, Mapping[str, float]] = {
    "fast": {"ets": 2, "sarima": 2, "boosting": 4, "seasonal_naive": 0.5, "tsb": 0.5, "window": 1},
    "intermittent": {"tsb": 2, "window": 2, "boosting": 2, "croston_sba": 1},
    "short": {"ets": 2, "tsb": 2, "window": 2, "boosting": 2},
}
"""Weights of the methods, up to a factor, before anything is known of the panel."""
TRUST = 40
"""Series asked, over all origins, whose loss weighs as much as that."""
STEPS = 300
"""Of the search for weights."""


@dataclass(frozen=True)
class Preset:
    """What forecasts: methods, weights by group [methods], factors of the spread by group [3], the boosting model."""

    methods: tuple[str, ...]
    weights: Mapping[str, Array]
    spread: Mapping[str, Array]
    model: Boosting | None
    horizon: int

    def forecast(self, known: Panel) -> Array:
        """Forecasts [s, h, 4] of all series of `known`: mean, then `LEVELS`; ordered, and none negative."""
        return self.mix(known, candidates(known, self.horizon, self.model, self.methods))

    def mix(self, known: Panel, made: Array) -> Array:
        """The methods' forecasts [k, s, h, 4] of `known` to one."""
        out = np.empty(made.shape[1:])
        of = groups(known)
        for number, group in enumerate(GROUPS):
            rows = np.flatnonzero(of == number)
            out[rows] = spread_out(np.tensordot(self.weights[group], made[:, rows], 1), self.spread[group])
        return out


def groups(known: Panel) -> Array:
    """The group of each series, as an index of `GROUPS`."""
    there = ~np.isnan(known.values)
    length = there.sum(1)
    zeros = (known.values == 0).sum(1) / np.maximum(length, 1)
    return np.where(length < SHORT[known.step], 2, np.where(zeros >= INTERMITTENT, 1, 0))


def candidates(known: Panel, horizon: int, model: Boosting | None, methods: tuple[str, ...]) -> Array:
    """What each method forecasts, [k, s, h, 4]."""
    made = [model.forecast(known) if name == BOOSTING and model else LOCAL[name](known, horizon) for name in methods]
    return np.stack(made)


def fit(known: Panel, horizon: int, *, seed: int = 0) -> Preset:
    """Choose weights and spread at the last origins of `known`, and train on all of it."""
    model = boosting.fit(known, horizon, seed=seed)
    origins = backtests(known, horizon)
    early = boosting.fit(known.before(origins[0]), horizon, seed=seed) if origins else None
    methods = (*LOCAL, BOOSTING) if model and (early or not origins) else tuple(LOCAL)
    weights = {group: _prior(group, methods) for group in GROUPS}
    spread = {group: np.ones(3) for group in GROUPS}
    asked = [_asked(known, origin, horizon, early, methods) for origin in origins]
    for number, group in enumerate(GROUPS):
        picked = [(actual[of == number], made[:, of == number]) for actual, made, of in asked]
        if sum(len(actual) for actual, _ in picked) < 5:
            continue
        actual = np.concatenate([actual for actual, _ in picked])
        made = np.concatenate([made for _, made in picked], 1)
        if not np.nansum(actual):
            continue
        weights[group] = fit_weights(actual, made, weights[group])
        spread[group] = fit_spread(actual, np.tensordot(weights[group], made, 1))
    return Preset(methods, weights, spread, model, horizon)


def backtests(known: Panel, horizon: int) -> list[int]:
    """Origins inside the panel, the first one first, each with a whole horizon after it and enough before it."""
    least = max(2 * known.season if known.step == "month" else known.season, SHORT[known.step] // 2) + 2
    return sorted(at for k in range(1, BACKTESTS + 1) if (at := known.periods - k * horizon) >= least)


def _asked(
    known: Panel, origin: int, horizon: int, model: Boosting | None, methods: tuple[str, ...]
) -> tuple[Array, Array, Array]:
    """What came [s, h], what each method said [k, s, h, 4], and the groups [s], as of an origin."""
    before = known.before(origin)
    actual = known.following(origin, horizon)
    return actual, candidates(before, horizon, model, methods), groups(before)


def _prior(group: str, methods: tuple[str, ...]) -> Array:
    weight = np.array([PRIOR[group].get(name, 0.02) for name in methods])
    prior: Array = weight / weight.sum()
    return prior


def fit_weights(actual: Array, made: Array, prior: Array) -> Array:
    """Weights [k], none negative and 1 together, of least quantile loss, drawn to the prior where little is known.

    Exponentiated gradient (Kivinen and Warmuth 1997) on the loss over what was sold.
    """
    known = ~np.isnan(actual)
    truth = actual[known]
    said = made[:, known][..., 1:]  # [k, n, 3]
    total = np.abs(truth).sum()
    levels = np.array(LEVELS)
    weight, average = prior.copy(), np.zeros(len(prior))
    for step in range(STEPS):
        mixed = np.tensordot(weight, said, 1)
        slope = np.where(truth[:, None] > mixed, -levels, 1 - levels)
        gradient = np.einsum("knq,nq->k", said, slope) / total
        weight = weight * np.exp(-2.0 / np.sqrt(1 + step) * (gradient - gradient.min()))
        weight /= weight.sum()
        if step >= STEPS // 2:
            average += weight
    share = len(actual) / (len(actual) + TRUST)
    drawn: Array = share * average / average.sum() + (1 - share) * prior
    return drawn


def spread_out(forecast: Array, factors: Array) -> Array:
    """Quantiles drawn nearer to the median or away from it, and all moved by a factor; [..., 4] as it came."""
    mean, low, middle, high = np.moveaxis(forecast, -1, 0)
    below, level, above = factors
    out = np.stack([mean * level, middle - below * (middle - low), middle, middle + above * (high - middle)], -1)
    out[..., 1:] *= level
    out[..., 1:] = np.sort(out[..., 1:], -1)
    drawn: Array = np.maximum(out, 0.0)
    return drawn


def fit_spread(actual: Array, mixed: Array) -> Array:
    """Factors [3] of least quantile loss: below, level, above; drawn to 1 where little is known."""
    known = ~np.isnan(actual)
    truth, said = actual[known], mixed[known]

    def best(grid: Array, at: int, level: int, factors: Array) -> float:
        losses = []
        for factor in grid:
            tried = factors.copy()
            tried[at] = factor
            losses.append(float(pinball(truth, spread_out(said, tried))[:, level].sum()))
        return float(grid[int(np.argmin(losses))])

    factors = np.ones(3)
    factors[0] = best(np.arange(0.4, 2.21, 0.05), 0, 0, factors)
    factors[2] = best(np.arange(0.4, 2.21, 0.05), 2, 2, factors)
    share = len(actual) / (len(actual) + TRUST)
    return 1 + share * (factors - 1)
