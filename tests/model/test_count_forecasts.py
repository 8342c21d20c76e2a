"""Counts about the mean of other methods: as wide as the truth, a series alone as among others, whole units or not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from clickflow.forecasting import backtests, boosting, counts, ensemble
from clickflow.forecasting.panel import Panel

HORIZON, SIZE = 4, 5.0
"""What the truth's variance is: mean + mean**2 / SIZE."""


def shop(step: Any = "week", periods: int = 60, series: int = 80, whole: bool = True) -> Panel:
    draw = np.random.default_rng(0)
    mean = draw.lognormal(1.5, 0.8, series)[:, None]
    rate = mean * draw.gamma(SIZE, 1 / SIZE, (series, periods))
    return Panel(draw.poisson(rate).astype(float) if whole else rate, step, np.datetime64("2024-01-01"))


def means(panel: Panel) -> Any:
    return np.repeat(panel.values.mean(1, keepdims=True), HORIZON, 1)


def fitted(panel: Panel) -> counts.Counts:
    model = counts.fit(panel)
    assert model is not None
    return model


def test_quantiles_are_those_of_the_truth_and_cover_it() -> None:
    panel = shop(periods=120)
    forecast = fitted(panel.before(60)).about(panel.before(60), means(panel))
    mean = means(panel)[:, 0]
    for at, level in ((1, 0.1), (2, 0.5), (3, 0.9)):
        truth = stats.nbinom.ppf(level, SIZE, SIZE / (SIZE + mean))
        assert abs(forecast[:, 0, at].sum() / truth.sum() - 1) < 0.15
    later = panel.values[:, 60:]
    inside = np.mean((later >= forecast[:, :1, 1]) & (later <= forecast[:, :1, 3]))
    assert 0.77 < inside < 0.92  # whole numbers lie on the bounds too
    assert (np.diff(forecast[..., 1:], axis=-1) >= 0).all() and (forecast >= 0).all()


def test_a_series_that_is_wider_than_the_others_is_said_to_be() -> None:
    values = shop().values
    values[0] = np.where(np.arange(60) % 5 == 0, 50.0, 0.0)
    values[1] = 10.0
    panel = replace(shop(), values=values)
    forecast = fitted(panel).about(panel, np.full((80, HORIZON), 10.0))
    width = forecast[:, 0, 3] - forecast[:, 0, 1]
    assert width[0] > 1.3 * np.median(width) > 1.3 * width[1]


@pytest.mark.parametrize("whole", [True, False])
def test_a_series_is_answered_alone_as_among_others(whole: bool) -> None:
    panel = shop(whole=whole)
    model, mean = fitted(panel), means(panel)
    rows = np.array([7])
    alone = model.about(panel.rows(rows).as_fitted(model.shared), mean[rows])
    np.testing.assert_array_equal(alone[0], model.about(panel, mean)[7])


def test_ten_times_what_is_not_whole_is_ten_times_the_forecast() -> None:
    panel = shop(whole=False)
    panel = replace(panel, values=panel.values * 100)
    more = replace(panel, values=panel.values * 10)
    forecast, ten = (fitted(each).about(each, means(each)) for each in (panel, more))
    np.testing.assert_allclose(ten, forecast * 10, rtol=0.02)


def test_what_was_never_sold_and_nothing_to_learn_from_are_no_errors() -> None:
    panel = shop()
    values = panel.values.copy()
    values[3], values[4, :55] = 0.0, np.nan
    never = replace(panel, values=values)
    forecast = fitted(never).about(never, np.nan_to_num(np.nanmean(values, 1, keepdims=True)).repeat(HORIZON, 1))
    assert np.isfinite(forecast).all() and forecast[3].max() == 0
    assert counts.fit(shop("day")) is None
    assert counts.fit(shop(series=2, periods=20)) is None
    assert counts.fit(replace(panel, values=np.zeros_like(values))) is None


def test_a_preset_of_weeks_mixes_it_and_one_of_days_does_not() -> None:
    week, day = (ensemble.fit(shop(step), HORIZON) for step in ("week", "day"))
    assert ensemble.COUNTS in week.methods and week.counts is not None
    assert ensemble.COUNTS not in day.methods and day.counts is None
    assert week.model is not None and "[extra_trees: 1]" in week.model.texts[1]
    assert day.model is not None and "[extra_trees: 0]" in day.model.texts[1]
    assert boosting.TREES.keys() == {"day", "week", "month"}


def test_the_preset_covers_what_is_sold_now_and_then_in_months_too_few_for_a_season() -> None:
    """Until spreads were checked without a season, too many zeros lay below the lower quantiles: coverage .65."""
    draw = np.random.default_rng(21)
    chance, size = draw.beta(1.5, 3.5, 250)[:, None], draw.lognormal(0.8, 0.7, 250)[:, None]
    values = np.where(draw.random((250, 30)) < chance, 1 + draw.poisson(size, (250, 30)), 0).astype(float)
    known = Panel(values, "month", np.datetime64("2024-01-01"))
    look = backtests.plan(known.before(24), 6)
    assert look.origins and not look.weights
    preset = ensemble.fit(known.before(24), 6)
    forecast, later = preset.forecast(known.before(24)), values[:, 24:]
    assert 0.75 < np.mean((later >= forecast[..., 1]) & (later <= forecast[..., 3])) < 0.87
    assert (preset.weights["intermittent"][1] == preset.weights["intermittent"][3]).all()  # the prior's


def test_the_lower_quantile_of_few_units_is_believed_more_than_that_of_many() -> None:
    few, many = (ensemble.believed(1.2, "month", small) for small in (True, False))
    assert few[0] > 0.4 and few[1] == many[1] == many[0] < 0.1
