"""Demand under a plan: what promotions and prices did is learned from the past, and expected of the days ahead."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_demand import START, events
from typer.testing import CliRunner

from clickflow import cli
from clickflow.forecasting import plan_file, planned, scores, verb
from clickflow.forecasting.panel import Panel
from clickflow.forecasting.planned import Plan
from clickflow.sequences.plan_file import read as read_plan
from clickflow.system import integrity
from clickflow.system.errors import DataError

Array = NDArray[Any]

SERIES, PAST, AHEAD = 40, 112, 7


def by_week(rng: np.random.Generator, share: float = 0.15) -> Array:
    """Some whole weeks of some series, 0 or 1 [s, t + h]."""
    weeks = (PAST + AHEAD + 6) // 7
    return np.repeat(rng.random((SERIES, weeks)) < share, 7, 1)[:, : PAST + AHEAD].astype(float)


def shop(times: Array, seed: int = 0, level: float = 1.5) -> Array:
    """Units [s, t + h] of series whose level walks and whose weekend is better, `times` [s, t + h] as many."""
    rng = np.random.default_rng(seed)
    usual = rng.lognormal(level, 0.7, SERIES)[:, None] * (1 + 0.4 * (np.arange(PAST + AHEAD) % 7 > 4))
    walk = np.exp(np.cumsum(rng.normal(0, 0.02, (SERIES, PAST + AHEAD)), 1))
    return rng.poisson(usual * walk * times).astype(float)


def past(units: Array) -> Panel:
    return Panel(units[:, :PAST], "day", START)


@pytest.fixture(scope="module")
def promoted() -> tuple[Array, Plan]:
    """A shop that sells 2.2 times as much in promotions."""
    promotion = by_week(np.random.default_rng(1))
    return shop(2.2**promotion), Plan(("promotion",), promotion[..., None])


def test_what_a_plan_did_is_read_off_the_past(promoted: tuple[Array, Plan]) -> None:
    units, plan = promoted
    said = planned.effects(past(units), plan).described()["promotion"]
    assert 0.95 * 2.2 < said["times"] < 1.05 * 2.2
    assert said["low"] < 2.2 < said["high"] < 1.2 * said["low"]


@pytest.mark.parametrize("periods", [1, 8, 55, 57])
def test_however_short_the_past_is_there_is_an_answer(promoted: tuple[Array, Plan], periods: int) -> None:
    units, plan = promoted
    learned = planned.effects(Panel(units[:, :periods], "day", START), plan)
    assert np.isfinite([*learned.believed, *learned.seen, *learned.error]).all()


def test_a_price_is_read_by_its_ratio_to_the_usual_one() -> None:
    rng = np.random.default_rng(2)
    usual = rng.lognormal(2, 1, SERIES)[:, None]
    price = usual * np.where(by_week(rng) > 0, 0.7, 1.0)
    units = shop((price / usual) ** -2.0)
    said = planned.effects(past(units), Plan(("price",), price[..., None])).described()["price"]
    assert abs(said["times"] - 0.9**-2) < 0.03
    gaps = np.where(rng.random(price.shape) < 0.3, np.nan, price)
    gaps[:, 0] = price[:, 0]
    carried = Plan(("price",), gaps[..., None]).read(past(units), AHEAD)
    assert np.isfinite(carried).all()


@pytest.mark.parametrize("seed", range(4))
def test_what_has_no_effect_is_believed_to_have_none(seed: int) -> None:
    units = shop(np.ones((SERIES, PAST + AHEAD)), seed)
    plan = Plan(("promotion",), by_week(np.random.default_rng(seed + 10))[..., None])
    assert abs(planned.effects(past(units), plan).described()["promotion"]["used"] - 1) < 0.04


def test_that_all_series_are_promoted_in_one_good_week_is_little_evidence() -> None:
    together = np.zeros((SERIES, PAST + AHEAD))
    together[:, 80:87] = 1
    chance = np.exp(np.random.default_rng(3).normal(0, 0.3, PAST + AHEAD))  # of a day, for all series
    said = planned.effects(past(shop(chance[None])), Plan(("promotion",), together[..., None])).described()["promotion"]
    assert said["low"] < 1 < said["high"]
    assert abs(said["used"] - 1) < 0.8 * abs(said["times"] - 1)


def test_nothing_ahead_changes_what_is_learned(promoted: tuple[Array, Plan]) -> None:
    units, plan = promoted
    other = plan.values.copy()
    other[:, PAST:] = 1 - other[:, PAST:]
    one, two = (planned.effects(past(units), Plan(plan.names, values)) for values in (plan.values, other))
    np.testing.assert_array_equal(one.believed, two.believed)


def test_forecasts_are_nearer_with_the_plan_and_follow_it(promoted: tuple[Array, Plan]) -> None:
    units, plan = promoted[0][:15], promoted[1].rows(np.arange(15))
    known, came = past(units), units[:, PAST:]
    scale = scores.naive_error(known.values, known.season)
    with_plan, without = planned.fit(known, AHEAD, plan), planned.fit(known, AHEAD)
    worth = [scores.summary(came, each.forecast(), scale) for each in (with_plan, without)]
    assert worth[0]["weighted_quantile_loss"] < 0.85 * worth[1]["weighted_quantile_loss"]
    assert abs(worth[0]["coverage_80"] - 0.8) < 0.08
    ahead = plan.values[:, PAST:, 0] > 0
    mean, plain = with_plan.forecast()[..., 0], with_plan.preset.forecast(with_plan.plain.panel)[..., 0]
    np.testing.assert_array_equal(mean[~ahead], plain[~ahead])
    np.testing.assert_allclose(mean[ahead], plain[ahead] * with_plan.effects.factor(np.ones(1)), rtol=1e-9)  # type: ignore[union-attr]
    quantiles = with_plan.forecast()[..., 1:]
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    upper = quantiles[..., 2]
    assert ((upper == np.round(upper)) | (upper == quantiles[..., 0])).all()  # units are whole


@given(
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from([1.0, 1.0, 2.5, 0.4])), min_size=1, max_size=60),
    st.integers(0, 5),
)
def test_units_without_a_plan_stay_whole_and_none_is_lost(days: list[tuple[int, float]], begun: int) -> None:
    units, factor = (np.array([[float(day[at]) for day in days]]) for at in (0, 1))
    units[0, :begun] = np.nan
    plain = planned.without(Panel(units, "day", START), factor, whole=True).values
    np.testing.assert_array_equal(np.isnan(plain), np.isnan(units))
    assert (plain[~np.isnan(plain)] == np.round(plain[~np.isnan(plain)])).all()
    assert (np.nan_to_num(plain) >= 0).all()
    running = np.cumsum(np.nan_to_num(units / factor) - np.nan_to_num(plain))
    assert ((running > -1e-4) & (running < 1 + 1e-4)).all()


START_OF = np.datetime64("2025-03-03")
PANEL = Panel(np.ones((2, 14)), "day", np.datetime64("2025-03-03"), ("a", "b"))


def plan_of(tmp_path: Path, text: str, held: Panel = PANEL, horizon: int = 7) -> tuple[Plan, tuple[str, ...]]:
    file = tmp_path / "plan.csv"
    file.write_text(text)
    return plan_file.of(read_plan(file), held, horizon)


def test_days_series_and_blanks_are_read_as_the_file_says(tmp_path: Path) -> None:
    lines = ("2025-03-04,2025-03-05,,1,", "2025-03-05,,b,0,2.5", "2025-03-20,2025-04-20,a,1,")
    text = "\n".join(("\ufeffdate,until,series_id,promotion,price", *lines))
    plan, notes = plan_of(tmp_path, text)
    assert plan.names == ("promotion", "price")
    assert np.flatnonzero(plan.values[0, :, 0]).tolist() == [1, 2, 17, 18, 19, 20]
    assert np.flatnonzero(plan.values[1, :, 0]).tolist() == [1]  # b's own row stands before that of all
    assert np.isnan(plan.values[0, :, 1]).all() and plan.values[1, 2, 1] == 2.5
    assert notes == ()


def test_a_week_has_the_mean_of_its_days(tmp_path: Path) -> None:
    held = Panel(np.ones((1, 4)), "week", np.datetime64("2025-03-03"), ("a",))
    plan, _ = plan_of(tmp_path, "date,until,promotion,price\n2025-03-08,2025-03-12,1,4\n2025-03-13,,0,6\n", held, 1)
    np.testing.assert_allclose(plan.values[0, :, 0], [2 / 7, 3 / 7, 0, 0, 0])
    np.testing.assert_allclose(plan.values[0, :2, 1], [4, 4.5])


def test_what_is_not_used_is_said(tmp_path: Path) -> None:
    head = "date,series_id,promotion\n"
    _, (unknown, _) = plan_of(tmp_path, head + "2025-03-04,aa,1\n2025-03-04,a,1\n")
    assert "1 series of" in unknown and "did you mean 'a'" in unknown
    assert "promotion is planned on no day before 2025-03-17" in plan_of(tmp_path, head + "2025-03-20,a,1\n")[1][0]
    (ends,) = plan_of(tmp_path, head + "2025-03-04,a,1\n2025-03-18,a,1\n")[1]
    assert "plans nothing after 2025-03-18: 5 of 7 days ahead are forecast without a plan" in ends
    assert plan_of(tmp_path, head + "2025-03-04,a,1\n2025-03-23,a,1\n")[1] == ()


def test_a_price_set_before_a_series_begins_holds_and_days_before_it_say_nothing_of_its_usual_one(
    tmp_path: Path,
) -> None:
    own, later = np.ones((2, 14)), np.ones((1, 4))
    own[0, :10] = np.nan
    text = "date,series_id,price\n2025-02-01,,7\n2025-02-20,a,9\n2025-03-16,a,4.5\n"
    whole = plan_of(tmp_path, text, Panel(own, "day", np.datetime64("2025-03-03"), ("a", "b")))[0]
    np.testing.assert_allclose(whole.values[:, [0, 13], 0], [[9, 4.5], [7, np.nan]])
    short = Panel(later, "day", np.datetime64("2025-03-13"), ("a",))
    read = plan_of(tmp_path, text, short)[0].read(short, 7)
    np.testing.assert_array_equal(read, whole.read(Panel(own, "day", START_OF, ("a", "b")), 7)[:1, 10:])
    np.testing.assert_allclose(read[0, [0, 3, 10], 0], np.log([1, 0.5, 0.5]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "first line names the columns"),
        ("day,promotion\n2025-03-04,1\n", "first line names the columns"),
        ("date,promotion,promotion\n2025-03-04,1,1\n", "first line names the columns"),
        ("date,series_id\n2025-03-04,a\n", "first line names the columns"),
        ("date,promotion\n", "has no rows"),
        ("date,promotion\n04.03.2025,1\nx,1\n", r"line 2: '04.03.2025' is no date.*\(1 more"),
        ("date,promotion\n2025-03-04,yes\n", "line 2: promotion is 'yes', not a number"),
        ("date,promotion\n2025-03-04,inf\n", "line 2: promotion is 'inf'"),
        ("date,price\n2025-03-04,0\n", "line 2: price is '0', not a price above 0"),
        ("date,promotion\n2025-03-04,1,2\n", "line 2: 3 cells, and 2 columns"),
        ("date,until,promotion\n2025-03-04,2025-03-01,1\n", "no days one after the other"),
        ("date,promotion\n2025-03-04,1\n2025-03-04,0\n", "lines 2 and 3 say different things"),
        ('date,promotion\n2025-03-04,"1\n', "cannot be read"),
    ],
)
def test_a_plan_that_cannot_be_read_is_an_error_that_names_the_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        plan_of(tmp_path, text)


def test_the_verb_reads_a_plan_and_says_what_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    (tmp_path / "params.yaml").write_bytes((root / "tests/assets/params_long.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    promoted = [day for day in range(67) if day % 14 in (3, 4)]
    rows: list[tuple[int, str, str | None, int | None]] = []
    for day in range(60):
        rows += [(day, "purchase", item, 9 if day in promoted else 3) for item in ("a1", "b1")]
    integrity.seal(events(tmp_path / "data/events", [*rows, (60, "view", "a1", None)]))
    lines = "".join(f"{START + day},1\n" for day in promoted)
    (tmp_path / "plan.csv").write_text("date,promotion\n" + lines)
    command = ["demand", "--horizon", "7", "--lead-time", "1", "--every", "2", "--plan", "plan.csv", "--json"]
    ended = CliRunner().invoke(cli.app, command)
    assert ended.exit_code == 0, ended.output
    result = json.loads(ended.stdout)
    assert 2.5 < result["plan"]["effects"]["promotion"]["times"] < 3.1
    assert result["past"]["preset"]["weighted_quantile_loss"] < result["past"]["without_plan"]["weighted_quantile_loss"]
    week = [round(period["expected"]) for period in result["series"][0]["periods"]]
    assert week == [9 if day in promoted else 3 for day in range(60, 67)]
    assert "The plan: promotion: 2." in verb._paragraph(result)
    (tmp_path / "plan.csv").write_text("date,promotion\n2025-03-04,yes\n")
    assert isinstance(CliRunner().invoke(cli.app, command).exception, DataError)
