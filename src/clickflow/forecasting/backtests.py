"""Where the preset looks back: origins before the end at which all methods are asked, and what is chosen by them."""

from dataclasses import dataclass, replace

import numpy as np

from clickflow.forecasting.factor import index
from clickflow.forecasting.groups import SHORT
from clickflow.forecasting.lags import YEAR
from clickflow.forecasting.panel import Panel, longest

BACKTESTS = 4
"""Origins before the end, where there are so many."""
BRIEF = 5
"""Periods before the first origin of a panel that is too short for others."""
BEFORE = {"day": (2, 3), "week": (79, 100), "month": (2, 3)}
"""Share of the panel that lies before the first of them: weeks have few years, and half a year less is another past."""

LONG = 2.1
"""Years of days or weeks from which on one of them may ask about the same time of the year; those of months do."""
WEEK = 7
"""Days whose mean is read, as no day of the week is a peak."""
MOVED = 0.2
"""By so much, as a logarithm, all series together are then above or below what they were before, in the mean."""


@dataclass(frozen=True)
class Backtests:
    """Origins, the first one first, and what is chosen by them.

    `horizons`: how many the periods after the first origin are, as far as they are asked about.
    `weights`: whether weights are; else they are the prior's.
    `spread`: whether the spread is, of many units and of few.
    `few`: whether a spread of few units is another than one of many.
    `then`: whether a series is asked about in the group that it was of at the origin, or in that of now.
    `year`: an origin a year before the end, which asks about the time of the year that is asked about now; or None.
    """

    origins: tuple[int, ...] = ()
    horizons: float = 0.0
    weights: bool = False
    spread: tuple[bool, bool] = (False, False)
    few: bool = False
    then: bool = False
    year: int | None = None


def plan(known: Panel, horizon: int) -> Backtests:
    """The best ones that the panel has room for; without an origin where it has none."""
    if origins := whole(known, horizon):
        spread, months = (True, True), known.step == "month"  # days and weeks have backtests enough
        far, a_year = apart(origins, horizon), year(known, horizon)
        return Backtests(origins, far, weights=True, spread=spread, few=months, then=True, year=a_year)
    if origins := whole(known, horizon, seasons=False):
        return Backtests(origins, apart(origins, horizon), spread=(False, True), few=True)
    if origins := brief(known, horizon):
        horizons = (known.periods - origins[0]) / horizon
        many, of_few = True, False  # `fit_least` says more of few
        return Backtests(origins, horizons, weights=True, spread=(many, of_few), few=True)
    return Backtests()


def year(known: Panel, horizon: int) -> int | None:
    """The origin a year before the end, where years enough lie before it and all series together moved after it; None
    where not, as of a quiet time the last origins say more.
    """
    at, width = known.periods - YEAR[known.step], WEEK if known.step == "day" else 1
    span = max(horizon // width, 1) * width
    if known.step == "month" or longest(known) < LONG * YEAR[known.step] or span > YEAR[known.step]:
        return None
    together = np.maximum(index(known.values), 1e-9)
    after = together[at : at + span].reshape(-1, width).mean(1)
    moved = np.abs(np.log(after / together[at - span : at].mean())).mean()
    return at if moved > MOVED and len(known.running(at)) else None


def apart(origins: tuple[int, ...], horizon: int) -> float:
    """Horizons from the first origin to the end of the last one's."""
    return 1 + (origins[-1] - origins[0]) / horizon


def whole(known: Panel, horizon: int, *, seasons: bool = True) -> tuple[int, ...]:
    """Origins inside the panel, the first one first, each with a whole horizon after it and enough before it.

    A horizon apart, or nearer, so that `BEFORE` of the panel lies before the first: what is chosen on a much shorter
    past does not hold for this one. Without `seasons` there need be none before the first: no weights are chosen by
    such origins, but the chance of a sale more or less is as large in them.
    """
    season = 2 * known.season if known.step == "month" else known.season
    least = max(season if seasons else 0, SHORT[known.step] // 2) + 2
    last = known.periods - horizon
    if last < least:
        return ()
    share, of = BEFORE[known.step]
    room = last - max(least, known.periods * share // of)
    step = min(max(room // (BACKTESTS - 1), 1), horizon)
    at = (last - number * step for number in range(BACKTESTS))
    return tuple(sorted(origin for origin in at if origin >= least and len(known.running(origin))))


def brief(known: Panel, horizon: int) -> tuple[int, ...]:
    """Origins of a panel that is too short for a whole horizon after one and enough before it, the first one first: in
    its second half, with a third of it after the last. They choose weights, by the steps ahead that are known, and
    which lower quantiles are above 0.
    """
    last = known.periods - max(1, min(horizon, known.periods // 3))
    least = max(known.periods // 2, BRIEF)
    return tuple(at for at in range(max(last - BACKTESTS + 1, least), last + 1) if len(known.running(at)))


def as_of(known: Panel, origin: int) -> Panel:
    """What was known at `origin`, read with the season of `known` where it was as long as that: weights are of methods
    that read a season or not as they will.
    """
    before = known.before(origin)
    return replace(before, cycle=known.season) if before.periods > known.season + 2 else before
