"""What all series of a shop do together: followed within days, read by a series alone as among others."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clickflow.forecasting import ensemble, factor, forecaster, naive, scores, shared
from clickflow.forecasting.forecaster import Forecaster
from clickflow.forecasting.panel import Panel

HORIZON = 14
START = np.datetime64("2025-01-06")


def shop(step: Any = "day", periods: int = 154, halved: int = 10, seed: int = 0) -> Panel:
    """Sixty series that all halve so many periods before the last `HORIZON`."""
    draw = np.random.default_rng(seed)
    mean = draw.lognormal(2.5, 0.8, (60, 1)) * np.where(np.arange(periods) < periods - HORIZON - halved, 1.0, 0.5)
    if step == "day":
        mean = mean * np.exp(draw.normal(0, 0.3, 7))[np.arange(periods) % 7]
    return Panel(draw.poisson(mean * draw.gamma(8, 1 / 8, mean.shape)).astype(float), step, START)


@pytest.mark.parametrize(("step", "halved"), [("day", 10), ("week", 5), ("month", 4)])
def test_a_shop_that_halved_is_followed_and_the_preset_reads_it(step: Any, halved: int) -> None:
    panel = shop(step, halved=halved)
    known, later = panel.before(panel.periods - HORIZON), panel.values[:, -HORIZON:]

    def loss(said: Any) -> float:
        return scores.summary(later, said, np.ones(len(later)))["weighted_quantile_loss"]

    assert loss(factor.common_factor(known, HORIZON)) < 0.7 * loss(naive.window(known, HORIZON))
    level, _ = factor.level_and_season(known)
    assert level[-1] < 0.7 * level[-halved - 2]


def test_of_series_that_have_nothing_together_the_level_stays() -> None:
    draw = np.random.default_rng(3)
    steady = Panel(draw.poisson(draw.lognormal(2, 1, (200, 1)), (200, 120)).astype(float), "week", START)
    level, _ = factor.level_and_season(steady)
    assert np.abs(level[20:] - 1).max() < 0.05


def test_a_series_is_forecast_alone_as_among_others_and_later_than_the_fit() -> None:
    panel = shop()
    known = panel.before(140)
    fitted = shared.of(known)
    among = factor.common_factor(known.as_fitted(fitted), HORIZON)
    np.testing.assert_array_equal(among, factor.common_factor(known, HORIZON))
    row = np.array([7])
    np.testing.assert_array_equal(factor.common_factor(known.rows(row).as_fitted(fitted), HORIZON), among[row])
    late = factor.common_factor(panel.as_fitted(fitted), HORIZON)
    own = panel.values.mean(1)
    assert np.abs(late[..., 0].mean(1) / own - 0.5).mean() < 0.2, "ten days and fourteen of half as much"
    early = factor.common_factor(panel.before(100).as_fitted(fitted), HORIZON)
    assert np.abs(early[..., 0].mean(1) / panel.values[:, :100].mean(1) - 1).mean() < 0.2, "no later level is read"


def test_units_are_units_and_nothing_is_nothing() -> None:
    known = shop()
    forecast = factor.common_factor(known, HORIZON)
    more = factor.common_factor(replace(known, values=known.values * 1e4), HORIZON)
    np.testing.assert_allclose(more, forecast * 1e4, rtol=1e-9)
    values = known.values.copy()
    values[0], values[1, :150] = 0.0, np.nan
    odd = factor.common_factor(replace(known, values=values), HORIZON)
    assert np.isfinite(odd).all() and (odd >= 0).all() and not odd[0].any()
    assert not factor.common_factor(Panel(np.zeros((3, 40)), "day", START), HORIZON).any()


def test_a_preset_keeps_what_it_reads() -> None:
    known = shop("week", 60).before(46).rows(np.arange(12))
    preset = ensemble.fit(known, 4)
    assert factor.NAME in preset.methods
    again = forecaster.loads(Forecaster(preset, "week", "quantity").dumps())
    np.testing.assert_array_equal(again.preset.forecast(known), preset.forecast(known))
    np.testing.assert_array_equal(preset.forecast(known.rows(np.array([5])))[0], preset.forecast(known)[5])
