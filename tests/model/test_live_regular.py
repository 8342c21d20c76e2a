"""What becomes of the log of answers by itself: reports, gauges, a call for retraining."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import online_shop
import pytest

from clickflow.monitoring import rule
from clickflow.monitoring.gauges import RESULT
from clickflow.monitoring.rule import LIVE, Judged
from clickflow.online.engine import Engine
from clickflow.online.history import Question, Step
from clickflow.online.http import metrics as shown
from clickflow.online.live import drift, gauges, log, metrics, watched
from clickflow.online.live.live import Live
from clickflow.online.live.log import Log
from clickflow.online.live.regular import Regular
from clickflow.params.file import load
from clickflow.params.schema import Params
from clickflow.registry.ledger import Entry
from clickflow.system.files import write_json
from clickflow.system.moments import DAY, HOUR
from clickflow.system.paths import Paths

MODEL = "next_step"
START = 1_790_000_000_000_000


@pytest.fixture
def params(root: Path) -> Params:
    given = load(root / "params.yaml", lambda _: None)
    return replace(given, watch=replace(given.watch, min_sequences=50))


def test_a_report_is_made_when_it_is_time_by_one_of_all_and_what_fails_is_said_once(
    tmp_path: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[Sequence[str]] = []
    now = [1e9]

    def verb(words: Sequence[str]) -> str:
        done.append(words)
        return "no key signs the ledger" if words[0] == "canary" else ""

    section = replace(params.live, report_minutes=10.0, judge=True)
    one, other = (Regular(section, Paths(tmp_path), verb, lambda: now[0]) for _ in range(2))
    assert not one.tick(), "nothing was logged yet"
    log.place(Paths(tmp_path).home).mkdir(parents=True)
    assert one.tick() and not one.tick() and not other.tick()
    assert done == [("live",), ("canary", "judge")]
    now[0] += 601
    assert other.tick() and not one.tick()
    now[0] += 601
    assert one.tick()
    assert one.wrong == {"live canary judge": "no key signs the ledger"}
    assert capsys.readouterr().err.count("no key signs") == 2, "once by each"
    plain = Regular(replace(section, judge=False), Paths(tmp_path), verb, lambda: now[0] + 9999)
    assert plain.verbs == (("live",),)
    assert not Regular(params.live, Paths(tmp_path), verb, lambda: now[0] + 9999).tick(), "off by default"


def group(arm: str, version: int, test: int = 0, recall: float = 0.3) -> dict[str, Any]:
    cell = {"value": recall, "low": recall - 0.1, "high": None}
    heads = {"next_item": {"questions": 9, "metrics": {"recall@20": cell}}}
    return {"model": MODEL, "arm": arm, "version": version, "test": test, "requests": 9, "heads": heads}


def test_gauges_show_the_version_that_answers_and_nothing_that_is_over() -> None:
    counted = shown.new()

    def show(report: dict[str, Any], on: Entry | None) -> str:
        for name, values in gauges.of(report, {MODEL: on}, {MODEL: 2}, 14).items():
            counted.show(name, values)
        return counted.text().decode()

    report: dict[str, Any] = {
        "made": "2026-11-29T00:00:00+00:00",
        "groups": [group("champion", 1), group("champion", 2, recall=0.4), group("canary", 3, 7)],
        "waiting": {"next_item": 4},
    }
    text = show(report, None)
    assert f'clickflow_live_value{{arm="champion",metric="next_item.recall@20",model="{MODEL}"}} 0.4' in text
    assert 'arm="canary"' not in text and 'clickflow_live_not_judged{output="next_item"} 4.0' in text
    began = Entry(**dict.fromkeys(("actor", "reason", "hash", "before"), ""), number=7, action="canary", model=MODEL,
        version=3, champion=2, previous=1, facts={}, time="2026-11-28T00:00:00+00:00")  # fmt: skip
    report["groups"] += [group("champion", 2, 7, recall=0.35)]
    text = show(report, began)
    assert f'clickflow_live_value{{arm="canary",metric="next_item.recall@20",model="{MODEL}"}} 0.3' in text
    assert f'clickflow_live_value{{arm="champion",metric="next_item.recall@20",model="{MODEL}"}} 0.35' in text
    ends = [line for line in text.splitlines() if line.startswith("clickflow_canary_ends")]
    assert float(ends[0].split()[-1]) == 1_795_824_000 + 14 * 86_400
    text = show({"groups": "no report of ours"}, None)
    assert f'clickflow_live_value{{arm="canary",metric="next_item.recall@20",model="{MODEL}"}} NaN' in text
    assert "clickflow_live_report_timestamp_seconds 0.0" in text


def answered(folder: Path, days: Sequence[float]) -> None:
    """A log in which the champion's first item is what 60 visitors a day do next, in so many cases."""
    draw = np.random.default_rng(3)
    now = [START]
    own = Log(folder, clock=lambda: now[0] * 1000)
    for day, share in enumerate(days):
        for visitor in range(60):
            now[0] = START + day * DAY + visitor * HOUR // 10
            who = {"session_id": f"{day} {visitor}"}
            row = {"request": f"{day} {visitor}", "model": MODEL, "version": 1, "arm": log.CHAMPION, "test": 0}
            given = {"output": "next_item", "kind": "ranking", "labels": [f"i{n}" for n in range(20)]}
            own.put("answers", **who, **row, **given, scores=[0.05] * 20, steps=1, last_item="x", last_action="view",
                plain=True)  # fmt: skip
            now[0] += 1_000_000
            item = "i3" if draw.random() < share else "none"
            own.put("outcomes", kind=log.STEP, **who, item=item, action="view")
    own.flush()


@pytest.mark.parametrize(("shares", "calls"), [([0.6] * 8, False), ([0.6] * 6 + [0.2] * 2, True)])
def test_live_metrics_that_fall_call_for_retraining(
    tmp_path: Path, params: Params, shares: list[float], calls: bool
) -> None:
    paths = Paths(tmp_path)
    assert watched.live_answers(params, paths)(MODEL, [(START, START + DAY)], 50) is None, "nobody was answered"
    answered(log.place(paths.home), shares)
    windows = [(START + day * DAY, START + (day + 1) * DAY) for day in range(4, 8)]
    params = replace(params, live=replace(params.live, metric={MODEL: "recall@20"}))
    seen = watched.live_answers(params, paths)(MODEL, windows, 50)
    assert seen is not None and seen.name == "live recall@20" and seen.before is not None
    assert abs(seen.before.value - 0.6) < 3 * seen.before.error < 0.3
    bounds = [list(rule.answered(0.15, seen, place, 0.05)) for place in range(4)]
    judged = [
        Judged(since=str(place), until="", sequences=60, after_training=0, bounds=tuple(own))
        for place, own in enumerate(bounds)
    ]
    assert all(own[0].kind == LIVE for own in bounds)
    call, why = rule.decide(params.watch, judged)
    assert call == calls, why
    few = watched.live_answers(params, paths)(MODEL, windows, 61)
    assert few is not None and few.windows == (None,) * 4
    assert next(rule.answered(0.15, few, 0, 0.05)).why


def talked(folder: Path, *, last: dict[str, Any], share: float) -> None:
    """Ten days of questions, 60 visitors each; those of the last day, and of the canary, are otherwise."""
    draw = np.random.default_rng(4)
    now = [START]
    own = Log(folder, clock=lambda: now[0] * 1000)
    for day in range(10):
        for visitor in range(60):
            now[0] = START + day * DAY + visitor * HOUR // 10
            who = {"session_id": f"{day} {visitor}"}
            chance = draw.uniform(0.1, 0.3) + (share if visitor % 2 else 0)
            arm = {"arm": log.CANARY, "version": 2} if visitor % 2 else {"arm": log.CHAMPION, "version": 1}
            given = {"kind": "probability", "labels": ["no", "yes"], "scores": [1 - chance, chance], "plain": True}
            question = {"steps": int(draw.integers(1, 9)), "last_item": "x", "last_action": "view"}
            question |= last if day == 9 else {}
            for number in range(3):
                row = {"request": f"{day} {visitor} {number}", "model": MODEL, "test": 0, "output": "purchase"}
                own.put("answers", **who, **row, **arm, **given, **question)
            own.put("outcomes", kind=log.STEP, **who, item="x", action="view")
    own.flush()


@pytest.mark.parametrize(
    ("last", "share", "moved"),
    [
        ({}, 0.0, set()),
        ({"last_action": "cart", "steps": 40}, 0.0, {("last day", "asked"), ("last day", "steps")}),
        ({}, 0.5, {("canary", "answer purchase")}),
    ],
)
def test_what_has_moved_is_said_and_chance_is_not(
    tmp_path: Path, params: Params, last: dict[str, Any], share: float, moved: set[tuple[str, str]]
) -> None:
    params = replace(params, watch=replace(params.watch, min_sequences=20))
    folder, now = log.place(tmp_path), START + 9 * DAY + 6 * HOUR
    talked(folder, last=last, share=share)
    answers, outcomes = log.read(folder, "answers"), log.read(folder, "outcomes")
    lines = drift.moved(params, metrics.joined(params, answers, outcomes, now), outcomes, now)
    assert {(line["group"], line["dimension"]) for line in lines if line["moved"]} == moved
    assert {line["dimension"] for line in lines} == {"asked", "steps", "answer purchase", "outcome"}
    assert all(line["distance"] <= 1 for line in lines)


def test_what_the_last_watch_said_is_shown_to_prometheus(tmp_path: Path, params: Params) -> None:
    paths, counted = Paths(tmp_path), shown.new()
    live = Live(params, paths, Engine({}))

    def show() -> dict[str, str]:
        for name, values in live.gauges().items():
            counted.show(name, values)
        lines = [line.rpartition(" ") for line in counted.text().decode().splitlines() if "clickflow_watch_" in line]
        return {name: value for name, _, value in lines if not name.startswith("#")}

    retrain = f'clickflow_watch_retrain{{model="{MODEL}"}}'
    assert show() == {
        "clickflow_watch_stale": "0.0",
        "clickflow_watch_newest_event_timestamp_seconds": "0.0",
        "clickflow_watch_report_timestamp_seconds": "0.0",
    }
    report = {"newest_event": "2026-01-01T00:00:00+00:00", "stale": True, "models": {MODEL: {"retrain": True}}}
    write_json(paths.watch / RESULT, report)
    assert (show()[retrain], show()["clickflow_watch_stale"]) == ("1.0", "1.0")
    assert float(show()["clickflow_watch_newest_event_timestamp_seconds"]) == 1_767_225_600
    assert float(show()["clickflow_watch_report_timestamp_seconds"]) == pytest.approx(time.time(), abs=600)
    later = paths.home / "watch/a-run" / RESULT
    write_json(later, report | {"stale": False, "models": {MODEL: {"retrain": False}}})
    os.utime(later, (time.time() + 60,) * 2)
    assert (show()[retrain], show()["clickflow_watch_stale"]) == ("0.0", "0.0"), "the DAG's is newer"
    assert "watch" not in live.wrong()
    later.write_bytes(b"\xff")
    os.utime(later, (time.time() + 120,) * 2)
    assert (show()[retrain], show()["clickflow_watch_report_timestamp_seconds"]) == ("0.0", "0.0"), "it says nothing"
    assert str(later) in live.wrong()["watch"]


def test_a_shadow_that_fails_is_no_shadow_that_had_no_time(tmp_path: Path, params: Params) -> None:
    served = online_shop.exported(tmp_path)
    engine = Engine({served.model: served})
    live, failed = Live(params, Paths(tmp_path), engine), list[int]()
    live.failed = lambda: failed.append(1)
    live.arms.shadows = {served.model: replace(served, artefact=replace(served.artefact, session=None))}
    asked = SimpleNamespace(name=served.model, question=Question((Step("5", "view"),)), rules=None)
    live._shadow.put((asked, 0))
    live._shadow.put(None)
    live._work()
    assert (len(failed), live.unseen) == (1, 0)
