"""`clickflow demand`: series of a shop's events, what to order, and what rises and falls."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from clickflow.forecasting import ensemble, forecaster, planned, shop, stock, trend, verb
from clickflow.forecasting.groups import SHORT
from clickflow.forecasting.panel import Panel
from clickflow.forecasting.stock import Costs
from clickflow.system.errors import DataError, UsageError

DAYS = 40
START = np.datetime64("2025-03-03")


def events(folder: Path, rows: list[tuple[int, str, str | None, int | None]]) -> Path:
    """Canonical events of (day, type, item, quantity); the category is the item's first letter, the price 2."""
    day, kind, item, quantity = zip(*rows, strict=True)
    table = pa.table(
        {
            "event_time": pa.array((START + np.array(day)).astype("datetime64[us]"), pa.timestamp("us", tz="UTC")),
            "event_type": list(kind),
            "item_id": list(item),
            "category": [name and name[0] for name in item],
            "price": [2.0] * len(rows),
            "quantity": pa.array(quantity, pa.int64()),
        }
    )
    (folder / "day=all").mkdir(parents=True)
    parquet.write_table(table, folder / "day=all" / "events.parquet")
    return folder


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two items of category a, one of b that begins late; the log ends with a view in the open day."""
    rows: list[tuple[int, str, str | None, int | None]] = []
    for day in range(DAYS):
        rows += [(day, "purchase", "a1", 3), (day, "purchase", "a1", None), (day, "view", "a2", None)]
        rows += [(day, "purchase", "a2", 5)] * (day % 4 == 0)
        rows += [(day, "purchase", "b1", 2)] * (day >= DAYS - 6)
    rows += [(DAYS, "purchase", "a1", 100), (DAYS, "view", "a1", None)]
    return events(tmp_path_factory.mktemp("events") / "events", rows)


def test_units_are_summed_by_key_and_day_up_to_the_last_whole_day(log: Path) -> None:
    held = shop.series(log, "item", "day")
    assert held.panel.ids == ("a1", "a2", "b1")
    assert held.parent == ("a", "a", "b")
    assert held.panel.values.shape == (3, DAYS)
    np.testing.assert_array_equal(held.panel.values[0], 4)  # three pieces, and one of no quantity
    np.testing.assert_array_equal(held.panel.values[1][:8], [5, 0, 0, 0, 5, 0, 0, 0])
    assert np.isnan(held.panel.values[2, : DAYS - 6]).all()
    assert held.units_of_the_open_period == 100
    assert held.ends == START + DAYS
    assert held.panel.price is not None
    np.testing.assert_array_equal(held.panel.price[:2], 2)


def test_every_unit_is_in_a_series_or_counted(log: Path) -> None:
    whole = shop.series(log, "shop", "day").panel.values.sum()
    held = shop.series(log, "item", "day", least_sales=7)
    assert held.series_of_few_sales == 1
    assert np.nansum(held.panel.values) + held.units_of_few_sales == whole
    assert np.nansum(shop.series(log, "category", "day").panel.values) == whole


def test_weeks_begin_on_monday_and_the_open_one_is_left_out(log: Path) -> None:
    held = shop.series(log, "item", "week", least_sales=20)
    assert held.panel.start == START
    np.testing.assert_array_equal(held.panel.values, [[28] * 5])
    assert held.units_of_the_open_period == 5 * 4 + 5 + 5 * 2 + 100


def test_a_log_without_sales_or_of_a_few_days_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no events in"):
        shop.series(tmp_path / "nowhere", "item", "day")
    with pytest.raises(DataError, match="nothing was bought"):
        shop.series(events(tmp_path / "a", [(0, "view", "a1", None)]), "item", "day")
    with pytest.raises(DataError, match="fewer than"):
        shop.series(events(tmp_path / "b", [(0, "purchase", "a1", 1), (3, "purchase", "a1", 1)]), "item", "day")


def test_a_new_item_is_drawn_to_its_category() -> None:
    values = np.full((3, 60), 10.0)
    values[2, :57] = np.nan
    forecasts = np.ones((3, 4, 4))
    forecasts[0], forecasts[1], forecasts[2] = 10.0, 50.0, 2.0
    known, parent = Panel(values, "day", START), np.array(["a", "b", "a"])
    preset = ensemble.fit(known, 4)
    kin = forecaster.kin(preset, known, parent, forecasts)
    drawn = forecaster.young(preset, known, parent, forecasts, kin)
    np.testing.assert_array_equal(drawn[:2], forecasts[:2])
    share = 3 / (3 + SHORT["day"])
    np.testing.assert_allclose(drawn[2], share * 2 + (1 - share) * 10)
    alone = forecaster.young(preset, known.rows(np.array([2])), parent[2:], forecasts[2:], kin)
    np.testing.assert_array_equal(alone, drawn[2:])


def forecast(mean: float, width: float, horizon: int = 10) -> np.ndarray:
    return np.tile(np.array([mean, mean - width, mean, mean + width]), (1, horizon, 1))


def test_more_certainty_wants_more_stock_and_a_sure_forecast_less() -> None:
    points = [stock.enough(forecast(5, 3), level)[0] for level in (0.5, 0.8, 0.95, 0.99)]
    assert points == sorted(points)
    assert abs(points[0] - 50) <= 2
    assert stock.enough(forecast(5, 1), 0.95)[0] < points[2]
    advice = stock.advice(forecast(5, 3), lead_time=3, every=4, service_level=0.95)
    assert advice.order_quantity[0] == 20
    assert 35 < advice.reorder_point[0] < 70


def test_the_service_level_follows_from_the_costs_and_costs_least() -> None:
    costs = Costs(short=9, left=1)
    assert costs.service_level == 0.9
    demand = np.random.default_rng(0).poisson(20, (4000, 1)).astype(float)
    spent = {units: stock.cost(demand, np.full(4000, units), costs) for units in range(15, 35)}
    best = min(spent, key=spent.__getitem__)
    assert abs(best - np.quantile(demand, 0.9)) <= 1
    with pytest.raises(UsageError, match="costs"):
        _ = Costs(short=0, left=1).service_level


def test_what_a_forecast_does_not_reach_is_an_error() -> None:
    with pytest.raises(UsageError, match="horizon"):
        stock.advice(forecast(5, 1), lead_time=8, every=7, service_level=0.9)


def test_rising_and_falling_series_are_named_and_noise_is_not() -> None:
    values = np.stack([np.full(60, 10.0), np.full(60, 10.0), np.full(60, 10.0)])
    known = Panel(values, "day", START)
    forecasts = np.concatenate([forecast(20, 2), forecast(4, 2), forecast(10, 6)])
    trends = trend.forecast_trend(known, forecasts)
    np.testing.assert_array_equal(trends.direction, [1, -1, 0])
    np.testing.assert_allclose(trends.ratio, [2, 0.4, 1])
    after = np.repeat([[15.0], [12.0], [10.0]], 10, axis=1)
    assert trend.precision(trends, known, after) == (2, 1)


def test_the_verb_says_what_it_forecasts_and_how_good_its_past_was(log: Path, tmp_path: Path) -> None:
    request = verb.Request(
        level="item",
        step="day",
        horizon=4,
        origins=1,
        least_sales=5,
        lead_time=1,
        every=2,
        costs=Costs(short=4, left=1),
    )
    held = shop.series(log, "item", "day", 5)
    rows = verb.forecast(held, request, planned.fit(held.panel, request.horizon))
    assert [row["item"] for row in rows] == ["a1", "b1", "a2"]
    assert 14 < rows[0]["expected"] < 18
    assert len(rows[0]["periods"]) == 4
    assert [row["category"] for row in rows] == ["a", "b", "a"]
    verb._write(tmp_path, held, rows, {"level": "item", "horizon": 4})
    sold = parquet.read_table(tmp_path / "sold.parquet").to_pylist()
    own = [row["units"] for row in sold if row["item"] == "a1"]
    assert own == held.panel.values[held.panel.ids.index("a1"), -verb.BEFORE * 4 :].tolist()
    assert sold[-1]["period"] < parquet.read_table(tmp_path / "forecasts.parquet")["period"][0].as_py()
    past = verb.past(held.panel, request, 0)
    assert past is not None
    assert past["origins"] == [str(START + DAYS - 4)]
    assert past["preset"]["weighted_quantile_loss"] < past["baselines"]["tsb"]["weighted_quantile_loss"] * 2
    assert set(past["stock_costs"]) == {"preset", "as_before"}


def test_a_row_is_named_by_its_level(log: Path) -> None:
    request = verb.Request(
        level="category",
        step="day",
        horizon=2,
        origins=0,
        least_sales=1,
        lead_time=1,
        every=1,
        costs=Costs(short=4, left=1),
    )
    held = shop.series(log, "category", "day")
    rows = verb.forecast(held, request, planned.fit(held.panel, request.horizon))
    assert [row["category"] for row in rows] == ["a", "b"]


def test_directions_that_did_not_come_true_are_named_no_more() -> None:
    assert trend.refuted(named=708, true=331) and trend.refuted(named=8, true=1)
    assert not trend.refuted(named=574, true=433) and not trend.refuted(named=3, true=1)
    assert not trend.refuted(named=0, true=0)
