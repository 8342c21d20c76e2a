"""The linear model over all series: it reads nothing ahead, answers a series alone as among others, finds a year."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clickflow.forecasting import backtests, ensemble, forecaster, linear
from clickflow.forecasting.forecaster import Forecaster
from clickflow.forecasting.lags import lags
from clickflow.forecasting.panel import Panel

HORIZON = 4


def shop(step: Any = "month", periods: int = 60, series: int = 16) -> Panel:
    draw = np.random.default_rng(0)
    season = 1 + 0.6 * np.sin(np.arange(periods) * 2 * np.pi / (12 if step == "month" else 52))
    values = draw.poisson(draw.lognormal(4, 0.5, series)[:, None] * season).astype(float)
    values[-3:, : periods // 2] = np.nan
    return Panel(values, step, np.datetime64("2024-01-01"))


@pytest.fixture(scope="module")
def known() -> Panel:
    return shop()


@pytest.mark.parametrize(("step", "periods"), [("month", 60), ("week", 60), ("week", 120)])
def test_nothing_later_is_read_and_the_season_reads_the_cycles_that_were_over(step: Any, periods: int) -> None:
    panel = shop(step, periods)
    later = panel.values.copy()
    later[:, 50:] = 999
    held, rows = lags(panel), np.arange(16)
    changed = replace(lags(replace(panel, values=later)), smoothed=held.smoothed, missed=held.missed)
    for ahead in (1, HORIZON, 13):
        both = [linear.read(each, rows, np.full(16, 50), ahead) for each in (held, changed)]
        for one, other in zip(*both, strict=True):
            np.testing.assert_array_equal(one, other)
            assert np.isfinite(one).all()


def test_a_series_is_answered_alone_as_among_others_and_a_year_is_found(known: Panel) -> None:
    model = linear.fit(known.before(56), HORIZON)
    assert model is not None
    forecast = model.forecast(known.before(56))
    np.testing.assert_array_equal(model.forecast(known.before(56).rows(np.array([4])))[0], forecast[4])
    after = known.following(56, HORIZON)
    usual = known.values[:, 44:56].mean(1, keepdims=True)
    assert np.abs(forecast[..., 2] - after).sum() < 0.6 * np.abs(usual - after).sum()
    assert 0.6 < np.mean((after >= forecast[..., 1]) & (after <= forecast[..., 3])) < 0.95
    assert linear.fit(shop("day"), HORIZON) is None
    assert linear.fit(shop(series=4, periods=16), HORIZON) is None


def test_a_preset_of_months_mixes_it_and_ships_it_as_numbers(known: Panel) -> None:
    preset = ensemble.fit(known, HORIZON)
    assert preset.linear is not None and preset.methods[-2:] == (ensemble.LINEAR, ensemble.COUNTS)
    content = Forecaster(preset, "week", "quantity").dumps()
    again = forecaster.loads(content)
    assert content == again.dumps()
    np.testing.assert_array_equal(again.preset.forecast(known), preset.forecast(known))


def test_backtests_of_two_years_of_weeks_read_the_season_that_the_answer_reads() -> None:
    panel = shop("week", 112)
    assert panel.season == 52
    before = [backtests.as_of(panel, origin) for origin in backtests.plan(panel, HORIZON).origins]
    assert before and all(each.season == 52 for each in before)
    assert min(each.periods for each in before) < 104
