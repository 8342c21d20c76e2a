"""Quantiles of the last periods, less what all series do together: a shop's level and season, its common factor.

A shop that halves, or closes, is seen in the sum of its series within days, in one of them within weeks. So each is
divided by the common factor of its time (a dynamic factor model of one factor; Stock and Watson 2011), and what is left
is forecast by `naive.window`, times the factor of the periods ahead: the level as it last was, and the season.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting import level, naive
from clickflow.forecasting.panel import Panel, Step, since

Array = NDArray[Any]

NAME, REST = "common_factor", "common_factor_rest"
AHEAD: Mapping[Step, int] = {"day": 14, "week": 6, "month": 6}
"""Steps up to which the level's smoothing is to be right."""
LONGEST = 12
"""Periods of a season that the factor has: of 52 weeks there are too few cycles, and it would know them by heart."""
ROUNDS = 3
LEAST = 0.1
"""The factor, near 1 in the mean, is read as no less."""


def common_factor(known: Panel, horizon: int) -> Array:
    """Forecasts [s, h, 4] of all series of `known`."""
    if known.shared is None:
        own, season = level_and_season(known)
    else:
        at = since(known.shared.start, known.start, known.step) + np.arange(known.periods)
        own = known.shared.level[np.clip(at, 0, len(known.shared.level) - 1)]
        season = known.shared.usual_at(NAME, int(at[-1]) + 1)
    ahead = np.maximum(own[-1] * season[np.arange(horizon) % len(season)], LEAST)
    forecast: Array = naive.window(without(known, own, season), horizon, naive.WINDOW, REST) * ahead[:, None]
    return forecast


def without(known: Panel, own: Array, season: Array) -> Panel:
    """The panel, divided by the level of its time and by its place in the season."""
    past = own * season[np.arange(-known.periods, 0) % len(season)]
    return replace(known, values=known.values / np.maximum(past, LEAST))


def usual(known: Panel) -> tuple[Array, Mapping[str, Array]]:
    """What `common_factor` reads of all series: the level [t], and by name the factors of the season and of the days of
    the week that are left without it, place 0 the next period.
    """
    own, season = level_and_season(known)
    return own, {NAME: season, REST: naive.usual(without(known, own, season), naive.WINDOW)}


def level_and_season(known: Panel) -> tuple[Array, Array]:
    """The level of all series together after each period [t], 1 in the mean, and the factor of each place in their
    season, place 0 the next period.
    """
    together, periods = index(known.values)[None], known.periods
    season = known.season if known.season <= LONGEST else 1
    by = level.factors(together, season, None)
    plain = together / by[:, np.arange(-periods, 0) % season]
    steps = AHEAD[known.step]
    smooth = level.levels(plain, season, steps, max(0, periods - level.RECENT[known.step] - steps))
    return np.nan_to_num(smooth[0, 1:], nan=1.0), by[0]


def index(values: Array) -> Array:
    """What all series sold in each period over what they usually do [t], each by the root of that: between a sum, which
    is of the largest, and a mean, which is the noise of the smallest. NaN before the first begins.
    """
    there, sold = (~np.isnan(values)).astype(float), np.nan_to_num(values)
    together = np.ones(values.shape[1])
    for _ in range(ROUNDS):  # a series that came late had its mean of other times
        mean = sold.sum(1) / np.maximum(there @ together, 1e-9)
        root = np.sqrt(np.maximum(mean, 1e-9))
        together = (sold / root[:, None]).sum(0) / np.maximum((mean / root) @ there, 1e-9)
    return np.where(there.any(0), together, np.nan)
