"""A blend knows the level of a season that its log has had, and none that days have by chance."""

from typing import Any

import numpy as np
import pytest

from clickflow.models import estimators
from clickflow.models.estimators.levels import Levels, moments
from clickflow.sequences.features import Array
from clickflow.system.moments import DAY

QUICK: dict[str, Any] = {"most_rounds": 30, "boosters": 1, "folds": 3, "min_rows": 10, "horizon_days": 30}
DAYS = np.arange(0, 510, 30)
PEOPLE = 300


def rows_over(days: Array, swing: float, answer: str) -> tuple[Array, Array, Array, Array]:
    """Features, answers, whose and when, of a shop that is busiest at the turn of the year, by `swing` either way."""
    random = np.random.default_rng(1)
    day = np.repeat(days, PEOPLE)
    x = random.normal(size=(len(day), 2)).astype(np.float32)
    busy = x[:, 0] + swing * np.cos(2 * np.pi * day / 365)
    if answer == "amount":
        target = np.exp(busy + 2) * (random.random(len(day)) < 0.7)
    else:
        target = (random.random(len(day)) < 1 / (1 + np.exp(-busy))).astype(np.float64)
    return x, target, np.tile(np.arange(PEOPLE), len(days)), day * DAY


@pytest.mark.parametrize("answer", ["probability", "amount"])
@pytest.mark.parametrize("last", [480, 330])
def test_the_level_of_the_season_is_that_of_a_year_before(answer: str, last: int) -> None:
    """The log ends in spring, and at the turn of the year."""
    x, target, whose, when = rows_over(DAYS[last >= DAYS], 1.5, answer)
    given: dict[str, Any] = {"kind_of_answer": answer, "groups": whose, "weights": estimators.recency(when)}
    estimator = estimators.fit("blend", x, target, times=when, params=QUICK, **given)
    x_test, coming, *_ = rows_over(np.array([last + 30] * 10), 1.5, answer)
    answers = estimator.predict(x_test)
    said = answers[:, 0] if answer == "amount" else np.exp(answers[:, 1])
    plain = estimators.fit("blend", x, target, params=QUICK, **given).predict(x_test)
    usual = plain[:, 0] if answer == "amount" else np.exp(plain[:, 1])
    off = [abs(np.log(each.mean() / coming.mean())) for each in (said, usual)]
    assert off[0] < 0.2 and off[0] < off[1] - 0.1


@pytest.mark.parametrize("answer", ["probability", "amount"])
def test_days_that_differ_by_chance_alone_have_no_season(answer: str) -> None:
    x, target, whose, when = rows_over(DAYS, 0, answer)
    given: dict[str, Any] = {"kind_of_answer": answer, "groups": whose, "params": QUICK}
    one, two = (estimators.fit("blend", x, target, times=times, **given) for times in (when, None))
    assert one.score(x).mean() == pytest.approx(two.score(x).mean(), abs=0.03)


def test_a_season_counts_as_far_as_days_lie_apart() -> None:
    times = np.array([0, 30, 60, 340, 370, 400]) * DAY
    values = np.array([0.5, 0.4, 0.3, -1.4, -0.4, -0.9])

    def levels(chance: float) -> Levels:
        return Levels(times, values, np.full(6, chance))

    spread = float(np.polyfit(times / DAY, values, 1, full=True)[1][0] / 6)
    assert levels(0).season(30, 30) == pytest.approx(0.3 * spread / (spread + 0.04)), "day 65 and 15 around it"
    assert levels(0).season(30, 90) == pytest.approx(0.3 * spread / (spread + 0.04)), "65 to 125 and 15 around them"
    assert levels(0).season(90, 90) == 0, "nobody was asked from day 80 to 170"
    assert 0 < levels(0.02).season(30, 30) < levels(0).season(30, 30)
    assert Levels(times, times / times[-1], np.zeros(6)).season(30, 30) == pytest.approx(0), "growth is no season"
    assert levels(1).season(30, 30) == 0, "no further apart than by chance"
    short = Levels(times[3:], values[3:], np.zeros(3))
    assert short.season(30, 30) == 0, "the log has not had the season"


def test_a_level_that_is_itself_of_chance_counts_less() -> None:
    """The days a year before are of few customers, and the other days of many."""
    times = np.array([0, 30, 60, 340, 370, 400]) * DAY
    values = np.array([0.5, 0.4, 0.3, -1.4, -0.4, -0.9])

    def season(chance: float) -> float:
        of_days = np.where(times == 60 * DAY, chance, 0.0)
        levels = Levels(times, values, of_days)
        spread = levels.spread()
        assert levels.season(30, 30) == pytest.approx(0.3 * spread / (spread + 0.04) * spread / (spread + chance))
        return levels.season(30, 30)

    assert 0 < season(0.2) < 0.7 * season(0.0)


def test_few_rows_a_day_have_no_levels() -> None:
    assert moments(None, 1) is None
    assert moments(np.repeat(DAYS, 29), 1) is None
    assert moments(np.repeat(DAYS, 30), 3) is None, "of several classes there is no one level"
    days, which = moments(np.repeat(DAYS, 30), 1) or pytest.fail("there are enough")
    np.testing.assert_array_equal(days[which], np.repeat(DAYS, 30))
