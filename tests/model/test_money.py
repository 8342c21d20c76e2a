"""The threshold follows from the costs, the money is what acting by it brings, and a shop manager reads what to do."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickflow import heads
from clickflow.evaluation import money, paragraph
from clickflow.evaluation.answers.answering import Answers
from clickflow.evaluation.bootstrap import Resampling
from clickflow.evaluation.systems import CANDIDATE, EVERYBODY
from clickflow.heads.outputs import Output
from clickflow.params.evaluation import Costs, Evaluation

HOW = Resampling(resamples=200, confidence=0.95, seed=0)
KEEP = Costs(act_on="yes", value=60, response=0.25, contact=1, coupon=10, redeemed=0.5)
"""Acting on who would leave wins .25 x 50 - 1 = 11.5, on who would stay it loses .5 x 10 + 1 = 6."""
WIN = Costs(act_on="no", value=20, response=0.2, contact=0.5, coupon=5)
"""Acting on who would not buy wins .2 x 15 - .5 = 2.5, on who would it loses 5 + .5."""


def answers_of(systems: dict[str, Any], target: Any, head: str = "purchase") -> Answers:
    def logs(p: Any) -> Any:
        own = np.clip(np.asarray(p, np.float64), 1e-9, 1 - 1e-9)
        return np.log(np.stack([1 - own, own], axis=1)).astype(np.float32)

    output = Output(head, heads.named(head))
    form = logs if output.kind == "probability" else lambda e: np.repeat(np.asarray(e, np.float64)[:, None], 4, axis=1)
    answers = {name: form(each) for name, each in systems.items()}
    n = len(target)
    return Answers(
        output=output, at=np.arange(n), target=np.asarray(target), systems=answers, known=np.ones(n, np.bool_)
    )


def of(answers: Answers, costs: Costs, sequence: Any = None, customer: Any = None) -> dict[str, Any]:
    n = len(answers.target)
    own = np.arange(n) if sequence is None else np.asarray(sequence)
    return money.of(answers, own, own if customer is None else np.asarray(customer), costs, HOW)


@pytest.mark.parametrize(
    ("costs", "head", "threshold", "side"),
    [
        (KEEP, "purchase", 6 / 17.5, "above"),
        (WIN, "purchase", 2.5 / 8, "below"),
        (Costs(act_on="yes", value=0.3, response=0.1, contact=2, coupon=10), "spend", 3 / 0.03, "above"),
        (Costs(act_on="yes", value=5), "purchase", 0.0, "above"),
    ],
)
def test_the_threshold_is_where_acting_is_worth_nothing(costs: Costs, head: str, threshold: float, side: str) -> None:
    worth = of(answers_of({CANDIDATE: [0.2, 0.4]}, [0, 1], head), costs)
    assert worth["threshold"] == pytest.approx(threshold, abs=1e-6)
    assert worth["act_on"] == side


def test_money_is_what_acting_brings_and_nobody_is_acted_on_twice() -> None:
    """Three visits: the first is asked three times and passes the threshold at the second, where it is not yes."""
    p = [0.1, 0.5, 0.9, 0.4, 0.2]
    worth = of(answers_of({CANDIDATE: p, "majority": [0.2] * 5}, [0, 0, 1, 1, 1]), KEEP, [0, 0, 0, 1, 2])
    own = worth["systems"][CANDIDATE]
    assert own["value"] == pytest.approx(1000 * (-6 + 11.5) / 3)
    assert own["acted"] == pytest.approx(2 / 3, abs=1e-6)
    assert worth["systems"]["majority"]["value"] == 0
    assert worth["systems"][EVERYBODY]["value"] == pytest.approx(1000 * (-6 + 11.5 + 11.5) / 3, abs=1e-4)
    assert (worth["sequences"], worth["best_baseline"]) == (3, "majority")
    assert worth["over_best_baseline"]["value"] == own["value"]


def test_the_simple_method_was_chosen_before_these_rows_were_looked_at() -> None:
    answers = answers_of({CANDIDATE: [0.9, 0.1], "logistic": [0.9, 0.1], "majority": [0.9, 0.9]}, [1, 0])
    own = np.arange(2)
    assert money.best_baseline(answers, own, KEEP) == "logistic"
    worth = money.of(answers, own, own, KEEP, HOW, "majority")
    assert (worth["best_baseline"], worth["best_baseline_on"]) == ("majority", "valid")
    assert worth["over_best_baseline"]["value"] == pytest.approx(1000 * 6 / 2)
    assert of(answers, KEEP)["best_baseline_on"] == "test"


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), min_size=1, max_size=30), st.sampled_from([KEEP, WIN]))
def test_who_knows_the_truth_brings_the_most(rows: list[tuple[float, bool]], costs: Costs) -> None:
    p, target = [p for p, _ in rows], [int(yes) for _, yes in rows]
    systems = of(answers_of({CANDIDATE: p, "oracle": target}, target), replace(costs), None)["systems"]
    assert systems["oracle"]["value"] >= max(systems[CANDIDATE]["value"], systems[EVERYBODY]["value"], 0) - 1e-6


def test_intervals_are_by_customer() -> None:
    rng = np.random.default_rng(0)
    target = np.repeat(rng.integers(0, 2, 40), 25)
    answers = answers_of({CANDIDATE: np.full(1000, 0.9)}, target)
    alone, together = (of(answers, KEEP, None, who)["systems"][CANDIDATE] for who in (None, np.arange(1000) // 25))
    assert alone["value"] == together["value"]
    assert together["high"] - together["low"] > 3 * (alone["high"] - alone["low"])


def paragraph_of(p: Any, baseline: Any, target: Any, language: str, costs: Costs | None = KEEP, **more: Any) -> str:
    answers = answers_of({CANDIDATE: p, "logistic": baseline}, target)
    settings = Evaluation(language=language, currency="£")  # type: ignore[arg-type]
    details = {"deciles": [{"share": 0.4, "lift": 2.5}], "share_of_yes": 0.16}
    content = {
        "purchase": {CANDIDATE: {}},
        "money": {"purchase": of(answers, costs)} if costs else {},
        "details": {"purchase": details},
    } | more
    return paragraph.of(content, settings)


RNG = np.random.default_rng(1)
CHANCE = RNG.uniform(0, 0.7, 4000)
CAME = (RNG.random(4000) < CHANCE).astype(np.int64)


@pytest.mark.parametrize(
    ("p", "baseline", "says", "chinese"),
    [
        (CHANCE, CHANCE[::-1], "is shown to bring more", "确实优于"),
        (CHANCE, CHANCE, "is not shown: the simple one", "尚不能证明模型优于"),
        (
            np.clip(CHANCE[::-1], 0.3, 1) * 0 + 0.9,
            CHANCE,
            "That acting brings anything is not shown",
            "尚不能证明行动有收益",
        ),
    ],
    ids=["better", "the same", "no gain"],
)
def test_a_shop_manager_is_told_what_to_do(p: Any, baseline: Any, says: str, chinese: str) -> None:
    english = paragraph_of(p, baseline, CAME, "en")
    assert says in english
    assert re.search(r"probability of a purchase is above 34.3%: \d+ of 1,000\. That brings -?£[\d.,]+", english)
    assert chinese in (other := paragraph_of(p, baseline, CAME, "zh"))
    assert "34.3%" in other
    assert "{" not in english + other


def test_heads_of_few_answers_say_that_no_other_day_tried_them() -> None:
    few: dict[str, Any] = {"same_days": {"purchase": 2140}}
    assert paragraph_of(CHANCE, CHANCE, CAME, "en", **few).endswith(
        "Purchase learned from 2,140 answers, too few to be tried on other days than those: how right the model stays "
        "in another season is not known."
    )
    assert paragraph_of(CHANCE, CHANCE, CAME, "zh", **few).endswith(
        "“购买”只学习了 2,140 个答案，不足以在其他日期上检验：换一个季节是否仍然准确，尚不清楚。"
    )


def test_without_costs_the_paragraph_asks_for_them() -> None:
    for language in ("en", "zh"):
        text = paragraph_of(CHANCE, CHANCE, CAME, language, None)
        assert "2.5" in text
        assert "evaluation.costs.purchase" in text
    assert "too few to be tried on other days" not in paragraph_of(CHANCE, CHANCE, CAME, "en")
    assert paragraph.WORDS["en"].keys() - {"sentence"} <= {*paragraph.WORDS["zh"], "sentence"}
