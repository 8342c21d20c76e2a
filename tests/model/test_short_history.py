"""Forecasts of panels of ten days or a dozen weeks: what must hold where hardly anything is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clickflow.forecasting import backtests, ensemble, scores
from clickflow.forecasting.groups import groups
from clickflow.forecasting.local import LOCAL
from clickflow.forecasting.panel import Panel


def lumpy(step: Any, periods: int, series: int = 150, seed: int = 4) -> Panel:
    """Sold now and then, a few pieces at a time."""
    draw = np.random.default_rng(seed)
    chance, size = draw.beta(1.2, 4, series)[:, None], draw.lognormal(1, 0.8, series)[:, None]
    pieces = 1 + draw.poisson(size * draw.gamma(2, 0.5, (series, periods)))
    return Panel(np.where(draw.random((series, periods)) < chance, pieces, 0).astype(float), step, START)


def busy(step: Any, periods: int, series: int = 60) -> Panel:
    draw = np.random.default_rng(1)
    level = draw.lognormal(2, 1, (series, 1))
    return Panel(draw.poisson(level * draw.gamma(3, 1 / 3, (series, periods))).astype(float), step, START)


START = np.datetime64("2025-01-06")


@pytest.mark.parametrize(("step", "periods"), [("day", 14), ("day", 20), ("week", 9), ("week", 12), ("month", 12)])
def test_four_fifths_lie_between_the_quantiles_though_little_is_known(step: Any, periods: int) -> None:
    """Backtests had no room, or spoke of series that were short then and of none now: coverage was .55 to .66."""
    horizon = 4 if step == "week" else 6
    panel = lumpy(step, periods + horizon)
    known = panel.before(periods)
    forecast, later = ensemble.fit(known, horizon).forecast(known), panel.following(periods, horizon)
    own, *local = (
        scores.summary(later, each, np.ones(len(later)))
        for each in (forecast, *(method(known, horizon) for method in LOCAL.values()))
    )
    assert 0.72 < own["coverage_80"] < 0.9
    assert own["weighted_quantile_loss"] < 1.06 * min(each["weighted_quantile_loss"] for each in local)


def test_backtests_speak_of_the_series_of_now_where_all_were_shorter_then() -> None:
    known = busy("week", 12)
    assert (groups(known) == 0).mean() > 0.9
    assert (groups(known.before(backtests.plan(known, 4).origins[-1])) == 2).all()
    walk = np.exp(np.cumsum(np.random.default_rng(2).normal(0, 0.4, known.values.shape), 1))
    other = replace(known, values=np.round(10 * walk))
    steady, moving = (ensemble.fit(each, 4).weights["fast"][2] for each in (known, other))
    assert np.abs(steady - moving).sum() > 0.05  # before, both were the ones that nothing is known with


@pytest.mark.parametrize(
    ("step", "periods", "horizon"), [("day", 14, 7), ("week", 104, 48), ("day", 10, 30), ("day", 7, 3)]
)
def test_a_season_that_is_not_known_at_the_first_backtest_is_read_at_none(
    step: Any, periods: int, horizon: int
) -> None:
    known = busy(step, periods)
    forecast = ensemble.fit(known, horizon).forecast(known)
    assert forecast.shape == (60, horizon, 4) and np.isfinite(forecast).all()


@pytest.mark.parametrize("periods", [4, 5, 6, 9, 13])
@pytest.mark.parametrize("series", [1, 2])
def test_a_series_or_two_of_a_few_days_are_answered(periods: int, series: int) -> None:
    known = busy("day", periods, series)
    forecast = ensemble.fit(known, 7).forecast(known)
    assert np.isfinite(forecast).all() and (forecast >= 0).all() and (np.diff(forecast[..., 1:], axis=-1) >= 0).all()


def test_a_series_of_a_young_panel_is_answered_alone_as_among_others() -> None:
    known = busy("day", 20)
    preset = ensemble.fit(known, 7)
    assert ensemble.COUNTS in preset.methods
    np.testing.assert_array_equal(preset.forecast(known.rows(np.array([7])))[0], preset.forecast(known)[7])


def test_what_comes_later_changes_no_forecast_of_a_young_panel() -> None:
    panel = busy("day", 30)
    other = Panel(panel.values.copy(), "day", START)
    other.values[:, 14:] = 999
    forecast, also = (ensemble.fit(each.before(14), 7).forecast(each.before(14)) for each in (panel, other))
    np.testing.assert_array_equal(forecast, also)
