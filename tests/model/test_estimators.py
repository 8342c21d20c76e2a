"""Estimators: what they learn, that ONNX answers as they do (missing values too), and that the same comes back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickflow.models import estimators
from clickflow.models.estimators.graph import INPUT, Graph
from clickflow.models.estimators.lifetime import READS, Lifetime, fit_bgnbd
from clickflow.models.estimators.linear import Column
from clickflow.models.estimators.problem import Problem
from clickflow.sequences.features import Array
from clickflow.system.errors import DataError, UsageError
from clickflow.system.moments import DAY

ROWS, FEATURES = 600, 5
QUICK: dict[str, Any] = {"most_rounds": 30, "boosters": 2, "folds": 3, "min_rows": 10}


def rows(answer: str, seed: int = 0) -> tuple[Array, Array, Array]:
    """Features, of which the first says the answer and a tenth is missing; a third of them whole numbers."""
    random = np.random.default_rng(seed)
    x = random.lognormal(1, 1, (ROWS, FEATURES)).astype(np.float32)
    x[:, 1] = np.round(x[:, 1])
    signal = np.log(x[:, 0]) - 1 + random.normal(0, 0.5, ROWS)
    x[random.random(x.shape) < 0.1] = np.nan
    target = {
        "probability": (signal > 0).astype(np.float64),
        "classes": np.digitize(signal, [-0.5, 0.5]).astype(np.float64),
        "amount": np.where(signal > 0, np.exp(signal) * 20, 0.0),
    }[answer]
    return x, target, np.arange(ROWS) // 2


def fitted(kind: str, answer: str, **more: Any) -> estimators.Estimator:
    x, target, groups = rows(answer)
    return estimators.fit(kind, x, target, kind_of_answer=answer, groups=groups, params=QUICK, **more)


@pytest.mark.parametrize("answer", estimators.ANSWERS)
@pytest.mark.parametrize("kind", estimators.KINDS)
def test_onnx_answers_as_the_estimator_and_so_does_what_was_saved(kind: str, answer: str, tmp_path: Path) -> None:
    import onnxruntime

    estimator = fitted(kind, answer)
    x = np.concatenate([rows(answer, seed=1)[0], np.full((1, FEATURES), np.nan, np.float32), np.zeros((1, 5))])
    x = x.astype(np.float32)
    expected = estimator.predict(x)
    assert expected.shape == (len(x), estimator.answers) and expected.dtype == np.float32
    session = onnxruntime.InferenceSession(estimator.onnx(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"features": x})[0], expected, rtol=2e-4, atol=2e-4)
    estimator.save(tmp_path)
    again = estimators.load(tmp_path)
    np.testing.assert_array_equal(again.predict(x), expected)
    assert again.onnx() == estimator.onnx()


@pytest.mark.parametrize("kind", estimators.KINDS)
def test_it_learns(kind: str) -> None:
    x, target, _ = rows("probability", seed=2)
    answers = fitted(kind, "probability").predict(x)
    np.testing.assert_allclose(np.exp(answers).sum(axis=1), 1, atol=1e-5)
    there = ~np.isnan(x[:, 0])
    assert np.mean((answers[there, 1] > answers[there, 0]) == target[there]) > 0.75


def test_an_amount_adds_up_and_its_quantiles_hold_what_they_say() -> None:
    x, target, _ = rows("amount", seed=2)
    estimator = fitted("blend", "amount")
    answers = estimator.predict(x)
    low, high = estimator.interval(x).T
    assert np.mean((low <= target) & (target <= high)) == pytest.approx(0.8, abs=0.06)
    assert 0.85 < answers[:, 0].sum() / target.sum() < 1.15
    assert (np.diff(answers[:, 1:], axis=1) >= 0).all()
    assert np.mean(target <= answers[:, 3]) == pytest.approx(0.9, abs=0.05)


def test_a_blend_of_amounts_has_a_hurdle_where_some_are_0_and_goes_without_where_none_is() -> None:
    x, target, groups = rows("amount")
    assert {"hurdle", "linear_hurdle"} <= fitted("blend", "amount").members.keys()
    given: dict[str, Any] = {"kind_of_answer": "amount", "groups": groups, "params": QUICK}
    without = estimators.fit("blend", x, target + 1, **given).members
    assert "hurdle" not in without and "linear_hurdle" not in without


@pytest.mark.parametrize("member", ["hurdle", "linear_hurdle"])
def test_a_hurdle_knows_what_is_usual_where_a_few_orders_are_most_of_the_money(member: str) -> None:
    from scipy.stats import spearmanr

    random = np.random.default_rng(0)
    x = random.normal(0, 1, (2000, 2)).astype(np.float32)
    target = np.where(random.random(2000) < 0.5, np.exp(x[:, 0] + random.normal(0, 2.5, 2000)), 0.0)
    assert np.sort(target)[-20:].sum() > target.sum() / 2
    estimator = estimators.fit("blend", x, target, kind_of_answer="amount", params=QUICK | {"most_rounds": 200})
    scores = estimator.members[member].scores(x)[:, 0]
    assert spearmanr(scores, x[:, 0]).statistic > 0.85


def test_one_order_of_a_billion_does_not_turn_the_ranking_of_all_others() -> None:
    from scipy.stats import spearmanr

    random = np.random.default_rng(0)
    n = 800
    tenure = random.uniform(200, 300, n)
    span = tenure * random.uniform(0.8, 1, n)
    history = np.stack([random.integers(0, 20, n), span, tenure, random.lognormal(3, 1, n)], axis=1).astype(np.float32)
    target = np.where(random.random(n) < 0.5, history[:, 0] * history[:, 3], 0.0)
    poorest = int(np.lexsort((history[:, 3], history[:, 0]))[0])
    slip = target.copy()
    slip[poorest] = 1e9

    def order(amounts: Array) -> float:
        estimator = estimators.fit(
            "blend", history, amounts, kind_of_answer="amount", names=READS, params=QUICK | {"horizon_days": 30}
        )
        assert isinstance(lifetime := estimator.members["lifetime"], Column) and lifetime.sign == 1
        return float(spearmanr(estimator.predict(history)[:, 0], history[:, 0] * history[:, 3]).statistic)

    assert estimators.ceiling(slip) == pytest.approx(estimators.ceiling(target), rel=0.2)
    assert order(target) > 0.95 and order(slip) > 0.7
    assert estimators.ceiling(np.zeros(3)) == np.inf


def test_a_blend_knows_the_day_on_which_a_bill_was_due() -> None:
    random = np.random.default_rng(0)
    days = random.uniform(0, 400, (6000, 1)).astype(np.float32)
    due = (days[:, 0] > 200) & (days[:, 0] < 204)
    yes = (random.random(6000) < np.where(due, 0.95, 0.05)).astype(np.float64)
    fitted = estimators.fit("blend", days, yes, kind_of_answer="probability", params=QUICK | {"most_rounds": 200})
    inside, after = np.exp(fitted.predict(np.array([[202], [206]], np.float32))[:, 1])
    assert inside > 4 * after


def test_sharp_trees_are_in_a_blend_of_customers_where_they_earn_it_alone() -> None:
    """Bills are due on a day; or it is the longer ago, the likelier, which regressions say better."""
    random = np.random.default_rng(0)
    days = random.uniform(0, 400, (6000, 1)).astype(np.float32)
    times = random.integers(0, 10, 6000) * 30 * DAY
    sharp = np.where((days[:, 0] > 200) & (days[:, 0] < 204), 0.95, 0.05)
    smooth = 1 / (1 + (days[:, 0] / 100) ** -2)

    def weight(likely: Array, when: Array | None) -> float:
        yes = (random.random(6000) < likely).astype(np.float64)
        given: dict[str, Any] = {"kind_of_answer": "probability", "times": when, "params": QUICK}
        estimator = estimators.fit("blend", days, yes, **given)
        return dict(zip(estimator.members, estimator.weights, strict=True))["sharp"]

    assert weight(sharp, times) > 0.3
    assert weight(smooth, times) < 0.01
    assert weight(smooth, None) > 0.05, "of visits, which are not asked about as of days, all members have a part"


def test_trees_send_values_beside_a_threshold_to_the_same_leaf() -> None:
    import onnxruntime

    low = np.float32(1.1)
    x = np.where(np.arange(400) % 2, np.nextafter(low, np.float32(2)), low)[:, None].astype(np.float32)
    target = (np.arange(400) % 2).astype(np.float64)
    estimator = estimators.fit("boosting", x, target, kind_of_answer="probability", params=QUICK)
    expected = estimator.predict(x)
    assert (expected[::2, 0] > expected[::2, 1]).all() and (expected[1::2, 0] < expected[1::2, 1]).all()
    session = onnxruntime.InferenceSession(estimator.onnx(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"features": x})[0], expected, rtol=1e-5)


def test_the_same_rows_and_seed_give_the_same_bytes() -> None:
    assert fitted("blend", "probability").onnx() == fitted("blend", "probability").onnx()


def test_what_has_no_answer_is_left_out() -> None:
    x, target, groups = rows("probability")
    more = np.concatenate([x, x[::-1]]), np.concatenate([target, np.full(ROWS, -1.0)]), np.concatenate([groups, groups])
    estimator = estimators.fit("logistic", *more[:2], kind_of_answer="probability", groups=more[2], params=QUICK)
    np.testing.assert_array_equal(estimator.predict(x), fitted("logistic", "probability").predict(x))


def test_columns_of_lifetime_are_the_same_to_the_last_digit_of_single_precision() -> None:
    """A wholesaler's customers, some of whom buy every week without fail, and some are gone for sure; and a shop's.
    Trees read the columns: where one lies on the other side of a threshold another answer follows.
    """
    import onnxruntime

    # [N, 4]: seen days with a purchase after the first, the last of them, days since the first, value of a day
    table = np.array(
        [
            [70, 490, 495, 900],
            [70, 250, 495, 900],
            [36, 252, 495, 90000],
            [3, 9, 400, 5],
            [0, 0, 3, 1],
            [0, 0, 500, 0.01],
        ],
        np.float32,
    )
    lifetime = Lifetime(3.9, 43.9, 0.39, 43.8, 0.19, 1.7, 25006.6, 30.0)
    graph = Graph()
    session = onnxruntime.InferenceSession(graph.model(lifetime.emit(graph, INPUT, range(4)), features=4, answers=5))
    expected = lifetime.columns(*table.T.astype(np.float64))
    assert expected[1, 1] == -12 and expected[0, 0] > 3
    table = np.concatenate([table, shoppers(4000, (30,))[0]])
    expected = lifetime.columns(*table.T.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_max_ulp(session.run(None, {INPUT: table})[0], expected, 1)


def test_columns_of_lifetime_are_those_of_the_model_that_made_the_purchases() -> None:
    """BG/NBD draws are fitted again within a tenth, and help where features alone are few."""
    random = np.random.default_rng(0)
    n, tenure = 4000, random.uniform(50, 350, 4000).round()
    rate, drop = random.gamma(0.6, 1 / 25, n), random.beta(1.0, 3.0, n)
    x, span = np.zeros(n), np.zeros(n)
    bought = np.zeros(n)
    for i in range(n):
        at = 0.0
        while random.random() > drop[i] or at == 0.0:
            at += random.exponential(1 / rate[i])
            if at > tenure[i]:
                bought[i] = at <= tenure[i] + 60
                break
            x[i], span[i] = x[i] + 1, at
    r, alpha, _, _ = fit_bgnbd(x, span, tenure)
    assert r == pytest.approx(0.6, rel=0.25) and alpha == pytest.approx(25, rel=0.4)
    table = np.stack([x, span, tenure, np.full(n, 10.0)], axis=1).astype(np.float32)
    estimator = estimators.fit(
        "logistic", table, bought, kind_of_answer="probability", names=READS, params=QUICK | {"horizon_days": 60}
    )
    assert estimator.lifetime is not None
    answers = np.exp(estimator.predict(table)[:, 1])
    for answer in (0, 1):  # more likely where it came so
        assert answers[bought == answer].mean() == pytest.approx(answers.mean(), abs=0.3)
    assert answers[bought == 1].mean() > answers[bought == 0].mean() + 0.1
    assert answers.mean() == pytest.approx(bought.mean(), abs=0.01)


def shoppers(n: int, horizons: tuple[int, ...]) -> tuple[Array, dict[int, Array], dict[int, Array]]:
    """Histories [n, 4] as `READS` of customers who buy at random and leave after a purchase by chance, and by horizon
    whether nothing is bought in it, and for how much.
    """
    random = np.random.default_rng(0)
    tenure = random.uniform(60, 360, n).round()
    rate, drop, worth = random.gamma(0.6, 1 / 25, n), random.beta(1.0, 3.0, n), random.lognormal(3, 0.6, n)
    history = np.stack([np.zeros(n), np.zeros(n), tenure, worth], axis=1).astype(np.float32)
    spent = {days: np.zeros(n) for days in horizons}
    for i in range(n):
        at = 0.0
        while random.random() > drop[i] or at == 0.0:
            at += random.exponential(1 / rate[i])
            if at <= tenure[i]:
                history[i, :2] = history[i, 0] + 1, at
            for days in horizons:
                spent[days][i] += worth[i] * random.lognormal(0, 0.3) * (tenure[i] < at <= tenure[i] + days)
            if at > tenure[i] + max(horizons):
                break
    return history, {days: (each == 0).astype(np.float64) for days, each in spent.items()}, spent


@pytest.mark.parametrize("kind", ["logistic", "blend"])
def test_answers_of_thirty_days_say_what_comes_within_half_a_year(kind: str) -> None:
    import onnxruntime

    table, gone, spent = shoppers(4000, (30, 180))
    x = np.concatenate([table, np.full((1, 4), np.nan, np.float32)])
    given: dict[str, Any] = {"names": READS, "params": QUICK | {"horizon_days": 30, "asked_days": 180}}
    churn = estimators.fit(kind, table, gone[30], kind_of_answer="probability", **given)
    said = np.exp(churn.predict(table)[:, 1])
    assert gone[30].mean() > gone[180].mean() + 0.15
    assert said.mean() == pytest.approx(gone[180].mean(), abs=0.03)
    for some in (said < np.median(said), said >= np.median(said)):
        assert said[some].mean() == pytest.approx(gone[180][some].mean(), abs=0.05)
    spend = estimators.fit(kind, table, spent[30], kind_of_answer="amount", **given)
    assert spend.predict(table)[:, 0].sum() / spent[180].sum() == pytest.approx(1, abs=0.2)
    low, high = spend.interval(table).T
    assert np.mean((low <= spent[180]) & (spent[180] <= high)) == pytest.approx(0.8, abs=0.06)
    for estimator in (churn, spend):
        session = onnxruntime.InferenceSession(estimator.onnx(), providers=["CPUExecutionProvider"])
        answers = session.run(None, {"features": x})[0]
        np.testing.assert_allclose(answers, estimator.predict(x), rtol=2e-3, atol=2e-4)


def both(answer: str, half: Array, n: int = 1200) -> tuple[Array, estimators.Estimator]:
    """Features, and what is learned of answers within 60 days and, of `half`, within 30."""
    table, gone, spent = shoppers(n, (30, 60))
    whole = gone[60] if answer == "probability" else spent[60]
    ids, ones = np.arange(n), np.ones(n)
    rows = (estimators.Rows(table, target, ids, ones, days) for target, days in ((whole, 60), (half, 30)))
    given: dict[str, Any] = {"kind_of_answer": answer, "names": READS, "params": QUICK}
    return table, estimators.fit_horizons("blend", *rows, horizon=60, **given)


@pytest.mark.parametrize("answer", ["probability", "amount"])
def test_answers_of_both_horizons_are_answered_by_the_mean(answer: str, tmp_path: Path) -> None:
    import onnxruntime

    _, gone, spent = shoppers(1200, (30, 60))
    table, estimator = both(answer, gone[30] if answer == "probability" else spent[30])
    assert estimator.nearer and not estimator.nearer.nearer
    one, two = replace(estimator, nearer=None), estimator.nearer
    parts = (estimator, one, two)
    np.testing.assert_allclose(estimator.score(table), (one.score(table) + two.score(table)) / 2)
    assert not np.allclose(one.score(table), two.score(table))
    x = np.concatenate([table, np.full((1, 4), np.nan, np.float32)])
    said = estimator.predict(x)
    if answer == "amount":
        np.testing.assert_allclose(said[:, 1:], (one.predict(x) + two.predict(x))[:, 1:] / 2, rtol=1e-5)
        held = [np.mean((spent[60] >= a) & (spent[60] <= b)) for a, b in (each.interval(table).T for each in parts)]
        assert min(held[1:]) - 0.02 <= held[0] <= max(held[1:]) + 0.02
    session = onnxruntime.InferenceSession(estimator.onnx(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"features": x})[0], said, rtol=2e-3, atol=2e-4)
    estimator.save(tmp_path)
    again = estimators.load(tmp_path)
    np.testing.assert_array_equal(again.predict(x), said)
    assert again.onnx() == estimator.onnx()


def test_where_half_the_horizon_teaches_nothing_the_whole_answers_alone() -> None:
    table, estimator = both("probability", np.ones(1200))
    assert estimator.nearer is None
    assert np.isfinite(estimator.predict(table)).all()


def test_answers_of_a_shorter_horizon_need_the_features_of_purchases(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="repeat_days"):
        estimators.fit(
            "logistic",
            *rows("probability")[:2],
            kind_of_answer="probability",
            params=QUICK | {"horizon_days": 30, "asked_days": 180},
        )
    table, gone, _ = shoppers(600, (30,))
    params = QUICK | {"horizon_days": 30, "asked_days": 180}
    estimator = estimators.fit("logistic", table, gone[30], kind_of_answer="probability", names=READS, params=params)
    estimator.save(tmp_path)
    np.testing.assert_array_equal(estimators.load(tmp_path).predict(table), estimator.predict(table))


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"kind": "bosting"}, UsageError, "boosting"),
        ({"answer": "ranking"}, UsageError, "there is no kind of answer"),
        ({"params": {"leafs": 3}}, UsageError, "leaves"),
        ({"target": np.zeros(ROWS)}, DataError, "all 600 questions are answered by no"),
        ({"target": np.full(ROWS, -1.0)}, DataError, "0 rows have an answer"),
        ({"answer": "amount", "target": np.zeros(ROWS)}, DataError, "the amount is 0"),
        ({"groups": np.zeros(ROWS)}, DataError, "too few to learn from"),
    ],
)
def test_what_cannot_teach_is_one_clear_error(change: dict[str, Any], error: type[Exception], says: str) -> None:
    x, target, groups = rows("probability")
    with pytest.raises(error, match=says):
        estimators.fit(
            change.get("kind", "blend"),
            x,
            change.get("target", target),
            kind_of_answer=change.get("answer", "probability"),
            groups=change.get("groups", groups),
            params=change.get("params", QUICK),
        )


def test_rows_of_a_cut_off_count_half_as_much_every_120_days() -> None:
    days = np.array([0, 120, 240], np.int64)
    np.testing.assert_allclose(estimators.recency(days * DAY), [0.25, 0.5, 1.0])
    x, target, groups = rows("probability")
    light = np.where(np.arange(ROWS) % 4 < 2, 1.0, 1e-6)  # whole groups that hardly count are as if left out
    some = np.flatnonzero(light == 1)
    given: dict[str, Any] = {"kind_of_answer": "probability", "params": QUICK}
    one = estimators.fit("logistic", x, target, groups=groups, weights=light, **given)
    two = estimators.fit("logistic", x[some], target[some], groups=groups[some], **given)
    np.testing.assert_allclose(np.exp(one.predict(x)), np.exp(two.predict(x)), atol=0.005)


def of_days(days: range, seed: int) -> tuple[Array, Array, Array, Array]:
    """Features (a signal, a habit, the day as a count), answers, whose, and when. How the habit bears on the answer is
    another thing each day.
    """
    random = np.random.default_rng(seed)
    day = np.repeat(np.array(days), 600)
    x = np.column_stack([random.normal(size=(len(day), 2)), day]).astype(np.float32)
    turn = np.random.default_rng(3).normal(0, 3, 100)[day]
    yes = random.random(len(day)) < 1 / (1 + np.exp(-x[:, 0] - turn * x[:, 1]))
    return x, yes.astype(np.float64), np.tile(np.arange(600), len(days)), day * 30 * DAY


def test_what_was_true_of_a_day_alone_counts_less_where_times_are_known() -> None:
    x, yes, whose, when = of_days(range(10), 0)
    x_test, later, *_ = of_days(range(10, 30), 1)
    given: dict[str, Any] = {"kind_of_answer": "probability", "groups": whose, "params": QUICK | {"most_rounds": 100}}

    def loss(times: Array | None) -> float:
        answer = estimators.fit("blend", x, yes, times=times, **given).predict(x_test)
        return float(-answer[np.arange(len(later)), later.astype(int)].mean())

    dated = estimators.fit("blend", x, yes, times=when, **given)
    assert dated.other_days and dated.rows == len(x)
    without, timed = loss(None), loss(when)
    assert timed < without - 0.05
    assert loss(np.zeros_like(when)) == without, "one moment parts nothing"


def test_folds_of_time_ask_other_groups_at_other_times() -> None:
    x, yes, whose, when = of_days(range(7), 0)
    problem = Problem(x, yes, np.ones(len(yes)), whose, "probability", 2, (False,) * 3, when)
    plain, timed = list(problem.folds(3, 0))[:3], list(problem.folds(3, 0))[3:]
    assert sorted(np.concatenate([held for _, held in plain])) == list(range(len(yes)))
    assert len(timed) == 3 and len(np.unique(np.concatenate([when[held] for _, held in timed]))) == 7
    for fitted_to, held in timed:
        assert len(held) and len(fitted_to)
        assert not {*whose[fitted_to]} & {*whose[held]} and not {*when[fitted_to]} & {*when[held]}


def test_few_rows_are_judged_as_if_nothing_were_known_of_their_times() -> None:
    x, target, groups = rows("amount")
    given: dict[str, Any] = {"kind_of_answer": "amount", "groups": groups, "params": QUICK}
    one, two = (estimators.fit("blend", x, target, times=times, **given) for times in (None, np.arange(ROWS)))
    np.testing.assert_array_equal(one.predict(x), two.predict(x))
    assert (one.other_days, two.other_days, two.rows) == (None, False, ROWS)
    with pytest.raises(ValueError, match="600 targets and 1 times"):
        estimators.fit("blend", x, target, times=np.zeros(1), **given)


def test_a_machine_of_more_cores_learns_the_same_digits() -> None:
    """Sums of BLAS depend on how many threads take part in them."""
    import sklearn.linear_model  # noqa: F401 - what is loaded later would not be limited
    from threadpoolctl import threadpool_limits

    random = np.random.default_rng(0)
    x = random.normal(size=(20_000, 60)).astype(np.float32)
    target = (x[:, :8].sum(1) + random.normal(size=len(x)) > 0).astype(np.float64)
    answers = []
    for cores in (1, 2):
        with threadpool_limits(cores):
            answers.append(estimators.fit("logistic", x, target, kind_of_answer="probability").score(x[:100]))
    np.testing.assert_array_equal(answers[0], answers[1])
