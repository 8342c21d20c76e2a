"""Forecasts of many series: what must hold of every method and of the preset."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clickflow.forecasting import (
    backtests,
    ensemble,
    groups,
    local,
    mixture,
    scores,
    smoothing,
    spread,
    theta,
)
from clickflow.forecasting.local import LOCAL
from clickflow.forecasting.panel import Panel, panel, whole_periods

HORIZON = 4


def shop(step: Any = "day", periods: int = 60, series: int = 12, seed: int = 0) -> Panel:
    """Fast, intermittent and late series; the last ones begin in the last third."""
    rng = np.random.default_rng(seed)
    season = 1 + 0.5 * np.sin(np.arange(periods) * 2 * np.pi / (12 if step == "month" else 7))
    level = rng.lognormal(1.5, 1.5, series)[:, None]
    values = rng.poisson(level * season).astype(float)
    values[series // 2 :] *= rng.random((series - series // 2, periods)) < 0.3
    values[-2:, : periods * 2 // 3] = np.nan
    return Panel(values, step, np.datetime64("2025-01-01"))


@pytest.fixture(scope="module")
def known() -> Panel:
    return shop()


@pytest.fixture(scope="module")
def preset(known: Panel) -> ensemble.Preset:
    return ensemble.fit(known, HORIZON)


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize(("step", "periods"), [("day", 60), ("month", 30), ("week", 7)])
def test_forecasts_are_whole_ordered_and_not_negative(name: str, step: Any, periods: int) -> None:
    forecast = LOCAL[name](shop(step, periods), HORIZON)
    assert forecast.shape == (12, HORIZON, 4)
    assert np.isfinite(forecast).all()
    assert (forecast >= 0).all()
    assert (np.diff(forecast[..., 1:], axis=-1) >= 0).all()


@pytest.mark.parametrize("name", [name for name in LOCAL if name not in ("croston_sba", "tsb")])
def test_ten_times_the_units_are_ten_times_the_forecast(name: str, known: Panel) -> None:
    rows = known.rows(np.arange(6))  # the fast ones
    if name == "ets":  # its logarithm of 1 + x is not linear: the plain smoothing is
        rows = known.rows(np.flatnonzero((known.values == 0).mean(1) > 0.05))
    forecast = LOCAL[name](rows, HORIZON)
    np.testing.assert_allclose(LOCAL[name](replace(rows, values=rows.values * 10), HORIZON), forecast * 10, rtol=1e-3)


@pytest.mark.parametrize("name", LOCAL)
def test_a_constant_series_is_forecast_as_itself(name: str) -> None:
    forecast = LOCAL[name](Panel(np.full((1, 60), 7.0), "day", np.datetime64("2025-01-01")), HORIZON)
    slack = 0.25 if name == "croston_sba" else 0.01  # its correction is below by half of alpha
    np.testing.assert_allclose(forecast[..., 0], 7, rtol=slack)


def test_a_series_that_never_sold_is_forecast_as_nothing() -> None:
    still = Panel(np.zeros((1, 60)), "day", np.datetime64("2025-01-01"))
    for method in LOCAL.values():
        assert method(still, HORIZON).max() < 0.01


def test_the_preset_is_whole_ordered_not_negative_and_the_same_again(known: Panel, preset: ensemble.Preset) -> None:
    forecast = preset.forecast(known)
    assert "boosting" in preset.methods and "gru" not in preset.methods
    assert np.isfinite(forecast).all()
    assert (forecast >= 0).all()
    assert (np.diff(forecast[..., 1:], axis=-1) >= 0).all()
    assert all(abs(weight.sum() - 1) < 1e-9 for group in preset.weights.values() for weight in group)
    np.testing.assert_array_equal(ensemble.fit(known, HORIZON).forecast(known), forecast)


@pytest.mark.parametrize("name", LOCAL)
def test_a_series_is_forecast_as_if_it_were_alone(name: str) -> None:
    """To the last digit, whenever the others begin or end: they are computed together."""
    ragged = shop(periods=70)
    for row in range(12):
        ragged.values[row, : 4 * row] = np.nan
    ragged.values[3:5, -6:] = np.nan
    together = LOCAL[name](ragged, HORIZON)
    for row in (0, 3, 4, 7, 11):
        np.testing.assert_array_equal(LOCAL[name](ragged.rows(np.array([row])), HORIZON)[0], together[row])


def test_no_method_forecasts_a_series_twice_while_it_is_remembered(
    known: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []

    def counted(panel: Panel, horizon: int) -> NDArray[Any]:
        rows.append(len(panel.values))
        return theta.theta(panel, horizon)

    method = local._once(counted)
    changed = replace(known, values=known.values + (np.arange(12) == 3)[:, None])
    expected = [theta.theta(each, HORIZON) for each in (known, changed)]
    with local.remembering():
        for panel_of, forecasts in zip((known, changed, known), (*expected, expected[0]), strict=True):
            np.testing.assert_array_equal(method(panel_of, HORIZON), forecasts)
        np.testing.assert_array_equal(method(known, HORIZON + 1), theta.theta(known, HORIZON + 1))
        assert rows == [12, 1, 12]
        monkeypatch.setattr(local, "MOST", 0)
        for _ in range(2):  # where there is no more room
            np.testing.assert_array_equal(method(known, 1), theta.theta(known, 1))
    method(known, HORIZON)
    assert rows == [12, 1, 12, 12, 12, 12]


def test_of_all_parameters_those_of_least_errors_smooth_a_series() -> None:
    """Against a plain loop over one series."""
    values = shop(periods=70).values[[0, 1, 7, 11]]
    values[1, -20:] = np.nan
    tried, smoothed = smoothing.grid(7), smoothing.smooth(values, 7)
    level, trend, season = smoothing._begin(values, 7)
    for row, series in enumerate(values):
        scores = []
        for a, b, g, seasonal in zip(tried.alpha, tried.beta, tried.gamma, tried.seasonal, strict=True):
            now, slope, slots = level[row], trend[row] * (b > 0), season[row] * seasonal
            errors = []
            for t, value in enumerate(series):
                if not np.isnan(value):
                    base = now + smoothing.DAMPING * slope
                    errors.append(value - base - slots[t % 7])
                    now, slope = base + a * errors[-1], smoothing.DAMPING * slope + a * b * errors[-1]
                    slots[t % 7] += g * (1 - a) * errors[-1]
            free, count = 2 + 2 * (b > 0) + seasonal, len(errors) - 1
            penalty = 2 * free * count / (count - free - 1)
            scores.append((count * np.log(np.sum(np.square(errors)) / count) + penalty, errors, now))
        least = min(range(len(scores)), key=lambda at: scores[at][0])
        assert [each[row] for each in (smoothed.chosen.alpha, smoothed.chosen.beta, smoothed.chosen.gamma)] == [
            each[least] for each in (tried.alpha, tried.beta, tried.gamma)
        ]
        np.testing.assert_allclose(smoothed.errors[row][~np.isnan(series)], scores[least][1], rtol=1e-9, atol=1e-9)
        assert smoothed.level[row, -1] == pytest.approx(scores[least][2])


def test_what_comes_after_the_origin_changes_no_forecast(known: Panel) -> None:
    origin = 50
    values = known.values.copy()
    values[:, origin:] = np.random.default_rng(1).integers(0, 1000, values[:, origin:].shape)
    for method in LOCAL.values():
        other = replace(known, values=values).before(origin)
        np.testing.assert_array_equal(method(other, HORIZON), method(known.before(origin), HORIZON))
    before = [ensemble.fit(each.before(origin), HORIZON) for each in (known, replace(known, values=values))]
    np.testing.assert_array_equal(before[0].forecast(known.before(origin)), before[1].forecast(known.before(origin)))


def test_a_season_is_found() -> None:
    """A clean weekly rhythm is forecast closely by the methods that read a season."""
    days = np.arange(120)
    values = 50 + 30 * np.sin(days * 2 * np.pi / 7)[None] + np.random.default_rng(0).normal(0, 1, (4, 120))
    known = Panel(values[:, :106], "day", np.datetime64("2025-01-01"))
    for name in ("seasonal_naive", "ets", "sarima"):
        error = np.abs(LOCAL[name](known, 14)[..., 2] - values[:, 106:]).mean()
        assert error < 5, name


def test_sarima_agrees_with_statsmodels_on_the_airline_model() -> None:
    statespace = pytest.importorskip("statsmodels.tsa.statespace.sarimax")
    from clickflow.forecasting import arima

    rng = np.random.default_rng(3)
    shocks: NDArray[Any] = rng.normal(0, 1, 140)
    moved = shocks.copy()
    moved[1:] -= 0.4 * shocks[:-1]
    series = 100 + np.cumsum(moved)
    ar, ma = arima._polynomials(arima.Order((0.0,), (0.4,), d=1), 12)
    errors = arima._errors(series[None], ar, ma)
    mean, _ = arima._ahead(series[None], errors, ar, ma, 5)
    other = statespace.SARIMAX(series, order=(0, 1, 1)).smooth([-0.4, 1.0]).forecast(5)
    np.testing.assert_allclose(mean[0], other, atol=0.01)


def test_missing_rows_are_zeros_where_the_file_has_gaps() -> None:
    days = np.array(["2025-01-01", "2025-01-04", "2025-01-02"], "datetime64[D]")
    gaps = panel(["a", "a", "b"], days, np.array([1.0, 2.0, 3.0]), step="day")
    np.testing.assert_array_equal(gaps.values, [[1, 0, 0, 2], [np.nan, 3, 0, 0]])
    dense = panel(["a", "a", "b"], days[[0, 2, 2]], np.array([1.0, 2.0, 3.0]), step="day")
    np.testing.assert_array_equal(dense.values, [[1, 2], [np.nan, 3]])


def test_the_loss_is_the_one_of_the_field() -> None:
    actual, forecast = np.array([[10.0]]), np.array([[[9.0, 8.0, 10.0, 9.0]]])
    summary = scores.summary(actual, forecast, np.array([2.0]))
    assert summary["weighted_quantile_loss"] == pytest.approx((0.1 * 2 + 0 + 0.9 * 1) * 2 / 3 / 10)
    assert (summary["mase"], summary["rmse"], summary["coverage_80"]) == (0, 1, 0)


def test_weeks_and_months_that_a_log_does_not_cover_are_told_apart() -> None:
    days = np.arange("2025-01-08", "2025-02-27", dtype="datetime64[D]")  # from a Wednesday to a Wednesday
    assert days[whole_periods(days, "week")][[0, -1]].tolist() == [
        np.datetime64(d) for d in ("2025-01-13", "2025-02-23")
    ]
    assert not whole_periods(days, "month").any()
    assert whole_periods(days, "day").all()
    months = np.arange("2025-01", "2025-09", dtype="datetime64[M]").astype("datetime64[D]")
    assert whole_periods(months, "month").all()
    assert whole_periods(days[::7], "week").all()
    assert whole_periods(months + np.timedelta64(14, "D"), "month").all()
    ends = np.arange("2025-02", "2025-10", dtype="datetime64[M]").astype("datetime64[D]") - 1
    assert whole_periods(np.repeat(ends, 3), "month").all()


def test_what_was_never_sold_is_forecast_as_nothing(known: Panel, preset: ensemble.Preset) -> None:
    values = known.values.copy()
    values[1] = 0
    np.testing.assert_array_equal(preset.forecast(replace(known, values=values))[1], 0)


def test_a_preset_of_whole_units_says_whole_medians_and_is_in_order(known: Panel, preset: ensemble.Preset) -> None:
    forecast = preset.forecast(known)
    apart = np.abs(forecast[..., 2:] - np.round(forecast[..., 2:]))
    assert ((apart < 1e-9) | (forecast[..., 2:] == forecast[..., 1:2])).all()
    half = replace(known, values=known.values / 2)
    assert not ensemble.whole_units(half)
    raised = mixture.rounded(np.array([[0.4, 0.3, 0.4, 0.45], [3.0, 1.2, 2.6, 5.4]]))
    np.testing.assert_array_equal(raised, [[0.4, 0.3, 0.3, 0.3], [3.0, 1.2, 3.0, 5.0]])


def test_a_level_without_its_season_is_whole_in_order_and_finds_the_season() -> None:
    from clickflow.forecasting.level import seasonal_level

    for step, periods in (("day", 60), ("month", 30), ("week", 7)):
        forecast = seasonal_level(shop(step, periods), HORIZON)
        assert forecast.shape == (12, HORIZON, 4)
        assert (
            np.isfinite(forecast).all() and (forecast >= 0).all() and (np.diff(forecast[..., 1:], axis=-1) >= 0).all()
        )
    values = 50 + 30 * np.sin(np.arange(120) * 2 * np.pi / 7)[None] + np.random.default_rng(0).normal(0, 1, (4, 120))
    forecast = seasonal_level(Panel(values[:, :106], "day", np.datetime64("2025-01-01")), 14)
    assert np.abs(forecast[..., 2] - values[:, 106:]).mean() < 5


def test_one_order_of_a_million_does_not_move_the_preset_by_more_than_a_large_one() -> None:
    plain, large, huge = shop(periods=90), shop(periods=90), shop(periods=90)
    large.values[0, 80], huge.values[0, 80] = 200, 1e6
    answers = [ensemble.fit(each, HORIZON).forecast(each) for each in (plain, large, huge)]
    assert answers[2][0, :, 2].max() < 4 * answers[0][0, :, 2].max()
    np.testing.assert_allclose(answers[2], answers[1], rtol=0.5, atol=2)
    changed = ensemble.tamed(huge).values - np.where(np.isnan(huge.values), 0, huge.values)
    assert np.flatnonzero(changed < 0).tolist() == [80]
    np.testing.assert_array_equal(ensemble.tamed(plain).values, plain.values)


def test_units_may_be_grams_or_tons(known: Panel) -> None:
    def forecast(unit: float) -> NDArray[Any]:
        other = replace(known, values=(known.values + 0.5) * unit)
        return ensemble.fit(other, HORIZON).forecast(other) / unit

    expected = forecast(1.0)
    for unit in (1e-6, 1e6):
        assert np.abs(forecast(unit) - expected).mean() < 0.05 * expected.mean(), unit


def test_a_backtest_at_which_no_series_runs_is_none() -> None:
    values = np.full((2, 90), 5.0)
    values[0, 60:], values[1, :80] = np.nan, np.nan
    relay = Panel(values, "day", np.datetime64("2025-01-01"))
    assert all(len(relay.running(at)) for at in backtests.plan(relay, HORIZON).origins)
    assert np.isfinite(ensemble.fit(relay, HORIZON).forecast(relay.rows(np.array([1])))).all()


@pytest.mark.parametrize(("step", "year"), [("day", 364), ("week", 52)])
def test_a_peak_of_the_year_is_asked_about_a_year_before_and_a_quiet_time_is_not(step: Any, year: int) -> None:
    periods, horizon = 2 * year + year // 2 + 20, year // 13
    rng, time = np.random.default_rng(0), np.arange(periods)
    week = 1 + 0.6 * np.sin(time * 2 * np.pi / 7) if step == "day" else np.ones(periods)
    ahead = (time - periods) % year < horizon
    quiet = Panel(rng.poisson(20 * week, (8, periods)).astype(float), step, np.datetime64("2023-01-02"))
    peak = replace(quiet, values=quiet.values * np.where(ahead, 2, 1))
    assert backtests.plan(peak, horizon).year == periods - year
    assert backtests.plan(quiet, horizon).year is None
    assert backtests.plan(replace(peak, values=peak.values[:, year:]), horizon).year is None, "too short"
    gone = replace(peak, values=np.where(time < periods - year, np.nan, peak.values))
    assert backtests.plan(gone, horizon).year is None, "none is as old"


def test_weeks_before_christmas_are_forecast_as_the_year_before_was() -> None:
    rng, periods = np.random.default_rng(1), 152
    peak = np.where((np.arange(periods + HORIZON) - periods) % 52 < HORIZON, 3.0, 1.0) ** rng.uniform(0.5, 1.2, (24, 1))
    values = rng.poisson(rng.lognormal(3, 1, (24, 1)) * peak).astype(float)
    shop = Panel(values[:, :periods], "week", np.datetime64("2023-01-02"))
    came = values[:, periods:]
    with pytest.MonkeyPatch.context() as patch:
        loss = scores.pinball(came, ensemble.fit(shop, HORIZON).forecast(shop)).sum()
        patch.setattr(backtests, "LONG", 9.0)
        without = scores.pinball(came, ensemble.fit(shop, HORIZON).forecast(shop)).sum()
    assert loss < 0.95 * without


def test_backtests_of_very_many_series_ask_some_of_each_group_and_the_longest() -> None:
    few = shop()
    np.testing.assert_array_equal(groups.drawn(few), np.arange(12))
    many = few.rows(np.tile(np.arange(12), 300))
    many.values[-1, :] = 1.0
    many.values[:-1, :3] = np.nan
    rows, of = groups.drawn(many), groups.groups(many)
    assert 900 < len(rows) < 1600 and len(many.values) - 1 in rows
    assert (np.bincount(of[rows], minlength=3) >= np.minimum(np.bincount(of, minlength=3), 200)).all()


def test_what_local_methods_have_said_is_not_asked_twice(known: Panel, preset: ensemble.Preset) -> None:
    spiked = replace(known, values=known.values.copy())
    spiked.values[1, 50] = 1e5
    for each in (known, spiked):
        said = {name: LOCAL[name](each, HORIZON) for name in LOCAL}
        np.testing.assert_array_equal(preset.each(each, said), preset.each(each))


def test_weights_are_believed_by_how_many_series_have_the_loss_not_by_how_many_there_are() -> None:
    """One series of M1's 80 has more than half of the units: its luck chose the weights of all."""
    rng = np.random.default_rng(5)
    prior, ahead = np.array([0.5, 0.5]), 6
    actual = rng.poisson(20.0, (80, ahead)).astype(float)
    forecasts = np.stack([np.full((80, ahead, 4), level) for level in (20.0, 30.0)])
    alike = mixture.fit_weights(actual, forecasts, prior, 1.0)
    one = actual.copy()
    one[0], forecasts[0, 0], forecasts[1, 0] = 20_000.0, 20_000.0, 30_000.0
    led = mixture.fit_weights(one, forecasts, prior, 1.0)
    assert alike[2, 0] > 0.9
    assert 0.5 < led[2, 0] < 0.6
    assert mixture.equal(actual, np.full((80, ahead, 4), 25.0)) > 70
    assert mixture.equal(one, mixture.mixed(np.full((4, 2), 0.5), forecasts)) < 1.3
    assert mixture.equal(np.full((3, 2), np.nan), np.ones((3, 2, 4))) == 0.0


def test_a_method_that_is_far_off_in_all_series_keeps_nothing_of_its_prior_and_one_of_a_few_series_does() -> None:
    """Half believed, a prior alone would leave it half of its weight, however far off it is."""
    prior, levels = np.array([0.4, 0.4, 0.2]), (20.0, 21.0, 60.0)
    actual = np.random.default_rng(1).poisson(20.0, (80, 6)).astype(float)
    forecasts = np.stack([level * np.tile([1.0, 0.72, 1.0, 1.3], (80, 6, 1)) for level in levels])
    half = mixture.fit_weights(actual, forecasts, prior, 0.5)
    assert (half[:, 2] < 0.002).all()
    assert (half[:, :2] > 0.15).all()
    none = mixture.fit_weights(actual, forecasts, prior, 0.0)
    np.testing.assert_allclose(none, np.tile(prior, (4, 1)))
    one = forecasts.copy()
    one[2] = one[0]
    one[2, 0] = 2_000.0  # in a single series
    assert (mixture.fit_weights(actual, one, prior, 0.5)[:, 2] > 0.05).all()


def test_months_of_one_series_that_grows_are_forecast_by_what_follows_its_course() -> None:
    time = np.arange(84)
    level = 400 * 1.015**time * (1 + 0.3 * np.sin(2 * np.pi * time / 12))
    values = level * np.random.default_rng(5).gamma(400, 1 / 400, 84)
    known = Panel(values[None, :72], "month", np.datetime64("2018-01-01"))
    preset = ensemble.fit(known, 12)
    follow = [name in ("ets", "sarima", "theta", ensemble.LEVEL) for name in preset.methods]
    assert preset.weights["fast"][:, follow].sum(1).min() > 0.9
    off = np.abs(preset.forecast(known)[0, :, 2] / values[72:] - 1).mean()
    assert off < 0.048  # .054 by the prior of many series


def test_a_fifth_of_counts_of_few_units_lies_outside_though_most_lower_quantiles_are_0() -> None:
    rng = np.random.default_rng(3)
    level = rng.lognormal(-0.5, 0.7, (60, 1))
    values = rng.poisson(level, (60, 150)).astype(float)
    panel_of = Panel(values[:, :140], "day", np.datetime64("2025-01-01"))
    preset = ensemble.fit(panel_of, 10)
    forecast = preset.forecast(panel_of)
    without = replace(preset, least={}).forecast(panel_of)
    after, before = (scores.summary(values[:, 140:], each, np.ones(60)) for each in (forecast, without))
    assert abs(after["coverage_80"] - 0.8) < 0.04
    assert after["weighted_quantile_loss"] < before["weighted_quantile_loss"] * 1.005
    assert (np.diff(forecast[..., 1:], axis=-1) >= 0).all()


def test_lower_quantiles_are_above_zero_where_means_are_largest_and_as_many_as_a_fifth_wants() -> None:
    mean = np.repeat(np.linspace(0.1, 2.0, 200)[:, None], 5, 1)
    actual = np.random.default_rng(0).poisson(mean).astype(float)
    mix = np.stack([mean, mean * 0.0, np.round(mean), np.full_like(mean, 4.0)], -1)
    least = mixture.fit_least(actual, mix)
    assert least is not None and 0.5 < least < 2
    low = mixture.parted(mix, least)[..., 1]
    assert (low[mean < least] == 0).all() and (low[mean >= least] == mixture.TRACE).all()
    assert abs(np.mean(actual < low) - mixture.BELOW[1]) < 0.01
    assert mixture.fit_least(actual[:10], mix[:10]) is None


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 40))
def test_quantiles_of_many_rows_are_those_of_each(seed: int, rows: int, length: int) -> None:
    random = np.random.default_rng(seed)
    values = np.round(random.normal(size=(rows, length)), int(random.integers(0, 4)))
    values[random.random(values.shape) < random.random((rows, 1))] = np.nan
    with warnings.catch_warnings(action="ignore"):  # a row without values
        wanted = np.nanquantile(values, (0.1, 0.5, 0.9), axis=1)
    np.testing.assert_array_equal(spread.quantiles(values, (0.1, 0.5, 0.9)), wanted)
