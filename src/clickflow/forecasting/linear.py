"""One linear model over all series: every step ahead a regression on lags, with a spread of its own.

A global autoregression (Montero-Manso and Hyndman 2021), by ridge regression on values over the level, weighted by the
level; the size of its errors by a second one, and their quantiles those of all series together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting import shared
from clickflow.forecasting.digits import rounded
from clickflow.forecasting.lags import LEVEL, RECENT, SHORTEST, WINDOWS, YEAR, Lags, lags
from clickflow.forecasting.panel import LEVELS, Panel, Shared

Array = NDArray[Any]

STEPS = ("week", "month")
"""Of days it adds nothing to the trees."""
ROWS = 6_000
"""Origins that a step is fitted on; more are sampled."""
LEAST = 150
"""With fewer there is no model."""
RIDGE = 3.0
"""Rows that weigh as much as that a coefficient is 0, of columns of one size."""
LARGEST = 6.0
"""Values more times the level than this are cut off in training."""
SPREADS = 3
"""Windows whose deviation is read."""


@dataclass(frozen=True)
class Linear:
    """Its numbers, a row a step ahead: `mean` [h, f], `spread` [h, g], `quantiles` [h, 3]; what it was fitted with."""

    weights: Mapping[str, Array]
    horizon: int
    shared: Shared

    def forecast(self, known: Panel, held: Lags | None = None) -> Array:
        """Forecasts [s, h, 4] of all series of `known`; `held`: its lags as fitted, where they are there."""
        held = held or lags(known.as_fitted(self.shared))
        rows = np.arange(len(held.panel.values))
        origins = np.full(len(rows), held.panel.periods)
        level = held.level(rows, origins)[:, None]
        out = np.empty((len(rows), self.horizon, 4))
        for at in range(self.horizon):
            features, spread = read(held, rows, origins, at + 1)
            mean = (features * self.weights["mean"][at]).sum(1)
            size = sizes(spread, self.weights["spread"][at])
            out[:, at, 0] = mean
            out[:, at, 1:] = mean[:, None] + size[:, None] * self.weights["quantiles"][at]
        out[..., 1:] = np.sort(out[..., 1:], -1)
        forecast: Array = np.maximum(out, 0) * level[:, None]
        return forecast


def read(held: Lags, rows: Array, origins: Array, step: int) -> tuple[Array, Array]:
    """What the mean [n, f] and the spread [n, g] of a step ahead are read from, all over the level; of no later period
    anything but the calendar.
    """
    panel, level = held.panel, held.level(rows, origins)
    steps = np.full(len(rows), step)
    target = origins + step - 1
    smooth = held.smoothed.ahead(rows, origins, steps) / level
    columns = [np.ones(len(rows)), smooth, held.smoothed.level[rows, origins - 1] / level]
    columns.append(held.slow[rows, origins - 1] / level)
    widths = WINDOWS[panel.step]
    means = [held.window(held.sums, rows, origins, width) for width in widths]
    columns += [mean / level for mean in means]
    for lag in range(1, RECENT[panel.step] + 1):
        columns.append(_or(held.value(rows, origins - lag, origins) / level, means[2] / level))
    for season in sorted({panel.season, YEAR[panel.step] if held.annual else 1} - {1}):
        back = -(-step // season) * season
        for k in (0, 1):
            columns.append(_or(held.value(rows, target - back - k * season, origins) / level, smooth))
        if season > SHORTEST:
            around = [held.value(rows, target - back + k, origins) / level for k in (-1, 1)]
            columns += [_or(each, smooth) for each in around]
    if panel.season > SHORTEST:
        seasonal = np.minimum(held.seasonal(rows, origins, target) / level, LARGEST)
        columns[1] = _or(seasonal, smooth)
        columns += [smooth, _or(held.ratio(rows, origins, target), means[-1] / level)]
    if held.annual or panel.season > SHORTEST:
        columns += calendar(panel, target)
    squares = [
        held.window(held.squares, rows, origins, width) - mean**2
        for width, mean in zip(widths[-SPREADS:], means[-SPREADS:], strict=True)
    ]
    deviations = [np.sqrt(np.maximum(each, 0)) / level for each in squares]
    off = np.sqrt(held.window(held.missed, rows, origins, 2 * LEVEL[panel.step])) / level
    return np.stack(columns, 1), np.stack([np.ones(len(rows)), off, 1 / np.sqrt(level), *deviations], 1)


def _or(values: Array, other: Array) -> Array:
    return np.where(np.isnan(values), other, values)


def calendar(panel: Panel, at: Array) -> list[Array]:
    """Waves of the year, which all series share."""
    days = panel.dates(at)
    year = (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64) / 365.25 * 2 * np.pi
    return [wave(k * year) for k in (1, 2, 3) for wave in (np.sin, np.cos)]


def sizes(spread: Array, weights: Array) -> Array:
    """How large errors are, over the level [n]: never less than a fifth of that of the steps before."""
    size: Array = np.maximum((spread * weights).sum(1), 0.2 * spread[:, 1] + 1e-3)
    return size


def fit(known: Panel, horizon: int, *, seed: int = 0, held: Lags | None = None) -> Linear | None:
    """Fit to all that `known` holds (`held`: its lags, where they are there); None where it is little, and of days."""
    if known.step not in STEPS:
        return None
    held = held or lags(known)
    count = _origins(held, known.season if known.season > SHORTEST else 1)
    if count.sum() < LEAST:
        count = _origins(held, 1)
    if count.sum() < LEAST:
        return None
    rows = np.repeat(np.arange(len(count)), count)
    origins = np.concatenate([np.arange(known.periods - n, known.periods) for n in count])
    if len(rows) > ROWS:
        drawn = np.sort(np.random.default_rng(seed).choice(len(rows), ROWS, replace=False))
        rows, origins = rows[drawn], origins[drawn]
    fitted: dict[str, list[Array]] = {"mean": [], "spread": [], "quantiles": []}
    for step in range(1, horizon + 1):
        there = origins + step <= known.periods
        if there.sum() < LEAST // 3:
            there = origins + 1 <= known.periods  # too few know so far ahead: as of the step before
            for each in fitted.values():
                if not each:
                    return None
                each.append(each[-1])
            continue
        for name, numbers in zip(fitted, _step(held, rows[there], origins[there], step), strict=True):
            fitted[name].append(numbers)
    weights = {name: rounded(np.stack(each)) for name, each in fitted.items()}
    return Linear(weights, horizon, shared.of(known))


def _origins(held: Lags, season: int) -> Array:
    """How many origins of each series are learned from, up to its last: with a season before them, and some lags."""
    least = held.first + max(RECENT[held.panel.step] // 2, 3, season)
    count: Array = np.maximum(held.panel.periods - least, 0)
    return count


def _step(held: Lags, rows: Array, origins: Array, step: int) -> tuple[Array, Array, Array]:
    level = held.level(rows, origins)
    features, spread = read(held, rows, origins, step)
    truth = np.minimum(held.panel.values[rows, origins + step - 1] / level, LARGEST)
    weight = level / level.mean()
    anchor = np.zeros(features.shape[1])
    anchor[1] = 1.0
    mean = anchor + _ridge(features, truth - features @ anchor, weight)
    error = truth - features @ mean
    size = _ridge(spread, np.abs(error), weight)
    ratio = error / sizes(spread, size)
    return mean, size, quantiles(ratio, weight * sizes(spread, size))


def _ridge(features: Array, target: Array, weight: Array) -> Array:
    scale = np.sqrt((weight[:, None] * features**2).mean(0))
    scale = np.where(scale > 1e-9, scale, 1.0)
    over = features / scale
    penalty = np.full(features.shape[1], RIDGE)
    square = (over * weight[:, None]).T @ over + np.diag(penalty)
    weights: Array = np.linalg.solve(square, (over * weight[:, None]).T @ target) / scale
    return weights


def quantiles(ratio: Array, weight: Array) -> Array:
    """`LEVELS` of values [n] that weigh so much, [3]."""
    order = np.argsort(ratio, kind="stable")
    share = (np.cumsum(weight[order]) - weight[order] / 2) / weight.sum()
    quantile: Array = np.interp(LEVELS, share, ratio[order])
    return quantile
