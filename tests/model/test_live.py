"""What is joined from the log of answers: live metrics by version, feedback, and the shadow beside the champion."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_log import MINUTE, Clock, answer, params_of

from clickflow.evaluation.answers import ranking
from clickflow.events.contract import EVENT_TYPES
from clickflow.heads import HEADS
from clickflow.online.live import join, log, metrics, report
from clickflow.online.live.log import Log
from clickflow.params.schema import Params
from clickflow.sequences.from_arrays import write_store
from clickflow.sequences.store import open_split


@pytest.fixture
def params(root: Path) -> Params:
    return params_of(root)


def test_live_metrics_are_what_the_evaluation_measures(tmp_path: Path, params: Params) -> None:
    """The same visits as a packed store and as a log: every head's targets and every rank are the same."""
    draw = np.random.default_rng(3)
    lengths = draw.integers(2, 7, 40)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    events = int(offsets[-1])
    item = draw.integers(2, 12, events).astype(np.int32)
    action = draw.choice([0, 0, 0, 1, 4], events).astype(np.int8)
    item[1:][(item[1:] == item[:-1]) & (action[1:] == action[:-1])] += 20  # repeats are one step
    store = tmp_path / "session"
    names: dict[str, Any] = {
        "offsets": offsets,
        "item": item,
        "action": action,
        "price": draw.random(events).astype(np.float32),
    }
    card = write_store(store, {"train": names, "test": names})
    split = open_split(store, "test")

    clock = Clock()
    own = Log(log.place(tmp_path), clock=clock)
    scores = draw.random((events, 40)).astype(np.float32)
    chances = draw.dirichlet(np.ones(len(EVENT_TYPES) + 1), events)
    for visit in range(len(lengths)):
        for step in range(offsets[visit], offsets[visit + 1]):
            own.put(
                "outcomes",
                kind=log.STEP,
                session_id=f"v{visit}",
                item=str(item[step]),
                action=EVENT_TYPES[action[step]],
                price=float(names["price"][step]),
            )
            best = 2 + np.argsort(-scores[step, 2:])
            about = {"session_id": f"v{visit}", "steps": int(step - offsets[visit] + 1)}
            labels = [str(index) for index in best[:20]]
            own.put("answers", **answer(f"r{step}", **about, labels=labels, scores=[0.05] * 20))
            classes = {"output": "next_action", "kind": "classes", "labels": [*EVENT_TYPES, "exit"]}
            own.put("answers", **answer(f"r{step}", **{**about, **classes, "scores": chances[step].tolist()}))
        clock.forward(MINUTE)
    own.flush()
    now = own.now() + 40 * MINUTE
    by_output = {
        each.output.name: each
        for each in join.judged(params, log.read(own.folder, "answers"), log.read(own.folder, "outcomes"), now)
    }
    event, _, end = split.questions()
    target = HEADS["next_item"].targets(split, event, end, card)
    rows = np.flatnonzero(target >= 0)
    ranks = ranking.ranks(scores[rows], target[rows])
    live = by_output["next_item"]
    assert live.answers.tolist() == np.where(ranks <= 20, ranks, 0).tolist()
    action_target = HEADS["next_action"].targets(split, event, end, card)
    assert by_output["next_action"].target.tolist() == action_target.tolist()
    np.testing.assert_allclose(by_output["next_action"].answers, np.log(chances), rtol=1e-4)
    young = list(join.judged(params, log.read(own.folder, "answers"), log.read(own.folder, "outcomes"), own.now()))
    assert {each.output.name: each.waiting for each in young}["next_item"] > 0, "who may still come back waits"


@pytest.mark.parametrize("days", [1, 8])
def test_answers_about_days_ahead_wait_until_these_are_over(tmp_path: Path, params: Params, days: int) -> None:
    """In the first days after a start no window of a customer is over: there is a report, without their metrics."""
    own = Log(log.place(tmp_path), clock=Clock())
    given = {"churn": ("probability", ["no", "yes"], [0.25, 0.75]), "spend": ("amount", [], [20.0, 0.0, 9.0, 50.0])}
    own.put("outcomes", kind=log.STEP, user_id="u", item="a", action="purchase", price=3.0)
    for output, (kind, labels, scores) in given.items():
        about = {"model": "customers", "output": output, "kind": kind, "labels": labels, "scores": scores}
        own.put("answers", **answer("r", user_id="u", **about))
    own.flush()
    rows = log.read(own.folder, "answers"), log.read(own.folder, "outcomes")
    joined = metrics.joined(params, *rows, own.now() + days * 24 * 60 * MINUTE)
    assert {each.output.name: each.waiting for each in joined.judged} == dict.fromkeys(given, int(days < 7))
    heads = metrics.summary(params, joined)[0]["heads"]
    assert {name: bool(heads[name]["metrics"]) for name in given} == dict.fromkeys(given, days > 7)


def test_feedback_that_names_no_answer_is_counted_and_said(tmp_path: Path, params: Params) -> None:
    own = Log(log.place(tmp_path), clock=Clock())
    own.put("answers", **answer("r1.0", session_id="s", labels=["a"]))
    for request in ("r1.0", "r1", "r1"):  # of a batch, and what a shop takes for its id
        own.put("outcomes", kind=log.CLICKED, request=request, item="a")
    own.flush()
    rows = log.read(own.folder, "answers"), log.read(own.folder, "outcomes")
    assert metrics.joined(params, *rows, own.now()).unmatched == 1
    assert metrics.joined(params, *rows, own.now() + 25 * 60 * MINUTE).unmatched == 0, "of the last day"
    result = {"days": 7, "made": "2026-01-30T12:00:00", "groups": [], "canaries": {}, "waiting": {}, "dropped": 0}
    assert "names 1 requests that no answer in the log has" in report._text({**result, "unmatched": 1})
    assert "feedback" not in report._text({**result, "unmatched": 0})


def test_clicks_purchases_and_feedback_by_version(tmp_path: Path, params: Params) -> None:
    clock = Clock()
    own = Log(log.place(tmp_path), clock=clock)
    own.put("answers", **answer("r1", session_id="s", labels=["a", "b"]))
    own.put("answers", **answer("r2", session_id="s", labels=["b", "c"], version=2, arm=log.CANARY, test=5))
    own.put("answers", **answer("r2", session_id="s", labels=["a", "c"], version=3, arm=log.SHADOW))
    own.put("outcomes", kind=log.STEP, session_id="s", item="b", action="view")
    own.put("outcomes", kind=log.STEP, session_id="s", item="b", action="purchase", price=3.0, quantity=2.0)
    own.put("outcomes", kind=log.STEP, session_id="s", item="a", action="cart")
    own.put("outcomes", kind=log.STEP, session_id="another", item="a", action="purchase", price=100.0)

    def shown() -> dict[int, tuple[float, float, float]]:
        own.flush()
        rows = log.read(own.folder, "answers"), log.read(own.folder, "outcomes")
        lines = metrics.summary(params, metrics.joined(params, *rows, own.now() + 99 * MINUTE))
        names = ("ctr", "conversion", "revenue")
        return {
            line["version"]: tuple(line["shown"][name]["value"] for name in names)
            for line in lines
            if line.get("shown", {}).get("answers")
        }

    assert shown() == {1: (1.0, 0.0, 0.0), 2: (1.0, 1.0, 6.0)}, "the last answer that names the item has it"
    own.put("outcomes", kind=log.CLICKED, request="r1", item="b")
    assert shown() == {1: (1.0, 0.0, 0.0), 2: (1.0, 1.0, 6.0)}, "a word of clicks alone leaves no other answer out"
    own.put("outcomes", kind=log.SHOWN, request="r1")
    for _ in range(2):
        own.put("outcomes", id="told twice", kind=log.BOUGHT, request="r1", item="a", value=7.5)
    assert shown() == {1: (1.0, 1.0, 7.5)}, "the shop's own word counts, once"


def test_what_a_merchant_pinned_is_none_of_the_models(tmp_path: Path, params: Params) -> None:
    own = Log(log.place(tmp_path), clock=Clock())
    for number, item in enumerate(("p", "p", "b", "b")):
        about: dict[str, Any] = {"session_id": f"s{number}", "labels": ["a", "b"], "pinned": ["p"], "plain": False}
        own.put("answers", **answer(f"before {number}", session_id=f"s{number}", labels=["a", "p"]))
        own.put("answers", **answer(f"r{number}", **about))
        own.put("outcomes", kind=log.STEP, session_id=f"s{number}", item=item, action="view")

    def line() -> dict[str, Any]:
        own.flush()
        rows = log.read(own.folder, "answers"), log.read(own.folder, "outcomes")
        (group,) = metrics.summary(params, metrics.joined(params, *rows, own.now() + 99 * MINUTE))
        return group

    assert line()["shown"]["ctr"]["value"] == 2 / 8, "of the last list that names an item, pinned or not"
    head = line()["heads"]["next_item"]
    assert (head["questions"], head["under_rules"]) == (6, 2), "a pinned item is neither a hit nor a miss"
    for number in range(4):
        own.put("outcomes", kind=log.SHOWN, request=f"r{number}")
    own.put("outcomes", kind=log.CLICKED, request="r0", item="p")
    own.put("outcomes", kind=log.BOUGHT, request="r0", item="p", value=80.0)
    own.put("outcomes", kind=log.CLICKED, request="r1", item="a")
    own.put("outcomes", kind=log.BOUGHT, request="r1", item="a", value=6.0)
    own.put("outcomes", kind=log.BOUGHT, request="r1", item="p")
    shown = line()["shown"]
    assert [shown[name]["value"] for name in ("ctr", "conversion", "revenue")] == [0.25, 0.25, 3 / 4]


@pytest.mark.parametrize(("clicks", "ends"), [(0, (0.0, 0.708)), (3, (0.292, 1.0))])
def test_few_visitors_who_are_all_alike_leave_much_open(
    tmp_path: Path, params: Params, clicks: int, ends: tuple[float, float]
) -> None:
    """Nobody of three has clicked: an interval from 0 to 0 would call an alarm."""
    own = Log(log.place(tmp_path), clock=Clock())
    for number in range(3):
        own.put("answers", **answer(f"r{number}", session_id=f"s{number}", labels=["a"]))
        if number < clicks:
            own.put("outcomes", kind=log.CLICKED, request=f"r{number}", item="a")
        own.put("outcomes", kind=log.STEP, session_id=f"s{number}", item="b", action="view")
    own.flush()
    rows = log.read(own.folder, "answers"), log.read(own.folder, "outcomes")
    (line,) = metrics.summary(params, metrics.joined(params, *rows, own.now() + 99 * MINUTE))
    ctr, revenue = line["shown"]["ctr"], line["shown"]["revenue"]
    assert (ctr["low"], ctr["high"]) == pytest.approx(ends, abs=0.001)
    assert (revenue["value"], revenue["low"], revenue["high"]) == (0.0, None, None)
    recall = line["heads"]["next_item"]["metrics"]["recall@1"]
    assert (recall["value"], recall["low"]) == (0.0, 0.0) and recall["high"] == pytest.approx(0.708, abs=0.001)


def test_shadow_and_champion_are_compared_request_by_request(tmp_path: Path, params: Params) -> None:
    clock = Clock()
    own = Log(log.place(tmp_path), clock=clock)
    for number in range(6):
        who = {"session_id": f"s{number}"}
        own.put("answers", **answer(f"r{number}", **who, labels=["a", "b"]))
        own.put("answers", **answer(f"r{number}", **who, labels=["c", "b"], version=2, arm=log.SHADOW))
        clock.forward(MINUTE)
        own.put("outcomes", kind=log.STEP, **who, item="c", action="view")
    own.flush()
    rows = log.read(own.folder, "answers"), log.read(own.folder, "outcomes")
    joined = metrics.joined(params, *rows, own.now() + 99 * MINUTE)
    (line,) = metrics.agreement(joined)
    assert (line["champion"], line["shadow"], line["agreement"]) == (1, 2, 0.5)
    assert metrics.paired(params, joined, "next_step", "recall@1", 2).tolist() == [1.0] * 6
