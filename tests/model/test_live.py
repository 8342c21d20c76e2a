"""The log of answers, what is joined from it, and the comparison that may be looked at early."""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import online_shop
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from clickflow.evaluation.answers import ranking
from clickflow.events import forgotten
from clickflow.events.contract import EVENT_TYPES
from clickflow.events.pseudonyms import load_key
from clickflow.heads import HEADS
from clickflow.online import state
from clickflow.online.engine import Engine
from clickflow.online.history import Step
from clickflow.online.http import server
from clickflow.online.http.app import app
from clickflow.online.http.settings import Settings
from clickflow.online.live import join, log, metrics, sequential
from clickflow.online.live.arms import canary_of, place
from clickflow.online.live.live import Live
from clickflow.online.live.log import Log
from clickflow.params.file import load
from clickflow.params.schema import Params
from clickflow.privacy import leftovers, people
from clickflow.privacy.people import People
from clickflow.registry import ledger
from clickflow.sequences.from_arrays import write_store
from clickflow.sequences.store import open_split
from clickflow.system.errors import DataError
from clickflow.system.paths import Paths

MINUTE = 60_000_000
START = 1_790_000_000_000_000


class Clock:
    """Nanoseconds, moved by hand."""

    def __init__(self) -> None:
        self.now = START * 1000

    def __call__(self) -> int:
        return self.now

    def forward(self, microseconds: int) -> None:
        self.now += microseconds * 1000


@pytest.fixture
def params(root: Path) -> Params:
    given = load(root / "params.yaml", lambda _: None)
    return replace(given, evaluation=replace(given.evaluation, bootstrap=50))


def answer(request: str, **more: Any) -> dict[str, Any]:
    """A row of an answer that ranks."""
    row = {"model": "next_step", "version": 1, "arm": log.CHAMPION, "test": 0, "output": "next_item", "kind": "ranking"}
    return {**row, "steps": 1, "labels": ["a", "b"], "scores": [0.6, 0.4], "plain": True, "request": request, **more}


def test_what_is_put_is_read_once_whatever_was_written_twice(tmp_path: Path) -> None:
    clock = Clock()
    folder = log.place(tmp_path)
    one, two = (Log(folder, clock=clock) for _ in range(2))
    for number in range(3):
        one.put("answers", **answer(f"r{number}", user_id="ann"))
    two.put("outcomes", kind=log.STEP, user_id="ann", item="b", action="view")
    one.put("answers", **answer("r0", user_id="ann"))
    one.flush()
    two.flush()
    files = list(folder.rglob("*.parquet"))
    assert len(files) == 2, "each worker writes files of its own"
    one.put("answers", **answer("r9"))
    one.flush()
    left = next(folder.glob("answers/*")) / ".killed-1.parquet.99.tmp"
    left.touch()
    os.utime(left, (0, 0))
    clock.forward(70 * MINUTE)
    one.flush()
    assert not left.exists(), "what a kill left goes with the hour"
    rows = log.read(folder, "answers")
    assert rows["request"].to_pylist() == ["r0", "r1", "r2", "r9"]
    assert len(list(folder.rglob("*.parquet"))) == 2, "an hour that is over has one file a worker"
    assert log.read(folder, "outcomes")["item"].to_pylist() == ["b"]
    assert log.read(folder, "answers", since=START + 80 * MINUTE).num_rows == 0
    clock.forward(91 * 24 * 60 * MINUTE)
    one.flush()
    assert not list(folder.rglob("*.parquet")), "kept no longer than keep_days"


def test_an_hour_that_ends_while_it_is_read_costs_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    own, checked = Log(log.place(tmp_path), clock=clock), log._checked
    for number in range(3):
        own.put("answers", **answer(f"r{number}"))
        own.flush()

    def ends(file: Path) -> Any:
        monkeypatch.setattr(log, "_checked", checked)
        clock.forward(70 * MINUTE)
        own.flush()
        return checked(file)

    monkeypatch.setattr(log, "_checked", ends)
    assert log.read(own.folder, "answers")["request"].to_pylist() == ["r0", "r1", "r2"]
    assert len(list(own.folder.rglob("*.parquet"))) == 1, "the three that were to be read are gone"


def test_what_finds_no_room_is_counted_in_the_log_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = Log(log.place(tmp_path), most=3, clock=Clock())
    assert [own.put("answers", **answer(f"r{n}")) for n in range(5)] == [True, True, True, False, False]
    own.flush()
    lost = log.read(own.folder, "outcomes").to_pylist()
    assert [(row["kind"], row["value"]) for row in lost] == [(log.DROPPED, 2.0)]
    assert "dropped 2 rows" in capsys.readouterr().err


def test_a_full_disk_takes_no_answer_away_and_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Log(log.place(tmp_path), most=4, clock=Clock())
    own.put("answers", **answer("r0"))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("clickflow.system.files.os.fsync", full)
        own.flush()
        assert "No space left" in own.wrong
        assert own.waiting == 1
    own.put("answers", **answer("r1"))
    own.flush()
    assert not own.wrong
    assert log.read(own.folder, "answers")["request"].to_pylist() == ["r0", "r1"]


KILLED = """
import sys, time
from pathlib import Path
from clickflow.online.live.log import Log
own = Log(Path(sys.argv[1]), seconds=.02).start()
for number in range(100_000):
    own.put("answers", request=str(number), model="m", version=1, arm="champion", test=0, output="o", kind="ranking")
    if own.written > 20: print(own.written, flush=True); own.written = 0
    time.sleep(.001)
"""


def test_a_killed_process_loses_what_waits_and_harms_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(log.place(tmp_path))], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for _ in range(3):
            child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)
    requests = log.read(log.place(tmp_path), "answers")["request"].to_pylist()
    assert len(requests) > 60
    assert requests == [str(number) for number in range(len(requests))], "all up to the last write"


def test_a_file_that_is_none_of_the_log_is_named(tmp_path: Path) -> None:
    own = Log(log.place(tmp_path), clock=Clock())
    own.put("answers", **answer("r0"))
    own.flush()
    (file,) = own.folder.rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(Exception, match=file.name):
        log.read(own.folder, "answers")


def test_what_something_else_wrote_into_redis_is_passed_over_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was answered as if the client's own question were wrong."""
    told = msgspec.msgpack.encode(Step(item="a", time=5))

    async def rows(*_: object) -> list[bytes]:
        return [told[:-1] + b"\xc1", told, b"", msgspec.msgpack.encode(17)]

    async def pong(*_: object) -> bool:
        return True

    held = state.Redis("redis://127.0.0.1:1", steps=5, keep_seconds=60)
    monkeypatch.setattr(held._client, "lrange", rows)
    monkeypatch.setattr(held._client, "ping", pong)
    assert asyncio.run(held.wrong()) == ""
    assert [step.item for step in asyncio.run(held.history("session:x"))] == ["a"]
    assert asyncio.run(held.wrong()).startswith("3 steps in Redis could not be read")


def test_every_bit_of_a_row_that_flips_is_noticed(tmp_path: Path) -> None:
    """A file's rows are held against checksums: a price or an item that has changed is no outcome."""
    logged = log.Log(tmp_path / "live")
    for number in range(200):
        logged.put("outcomes", kind="step", item=f"item {number % 17}", price=number * 0.25, user_id=f"u{number % 5}")
    logged.flush()
    whole = log.read(tmp_path / "live", "outcomes")
    (file,) = (tmp_path / "live").glob("outcomes/hour=*/*.parquet")
    data, noticed = file.read_bytes(), 0
    for at in range(4, len(data) - 8, len(data) // 60):
        file.write_bytes(data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :])
        try:
            same = log.read(tmp_path / "live", "outcomes").equals(whole)
        except DataError as error:
            noticed, same = noticed + 1, file.name in str(error)
        assert same, at
    assert noticed > 20


@pytest.mark.parametrize("unit", ["ns", "ms"])
def test_times_of_another_unit_are_no_rows_of_the_log(tmp_path: Path, unit: Any) -> None:
    """One bit of a file's footer says the unit, and no checksum covers it: answers of 1970 were read."""
    logged = log.Log(tmp_path / "live")
    logged.put("outcomes", kind="step", item="a")
    logged.flush()
    (file,) = (tmp_path / "live").glob("outcomes/hour=*/*.parquet")
    table = parquet.read_table(file, partitioning=None)
    at = table["at"].cast(pa.int64()).cast(pa.timestamp(unit, "UTC"))
    log.write(file, table.set_column(0, "at", at))
    with pytest.raises(DataError, match="its column at is of another kind"):
        log.read(tmp_path / "live", "outcomes")


def test_a_bit_that_flips_in_redis_is_no_other_step(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Step(item="a", action="view", time=5, price=2.5)
    kept: list[bytes] = []

    async def asked(*words: Any) -> int:
        kept.append(words[-1])
        return 1

    async def rows(*_: object) -> list[bytes]:
        (whole,) = kept
        return [whole, *(flipped(whole, bit) for bit in range(8 * len(whole))), msgspec.msgpack.encode(step)]

    def flipped(row: bytes, bit: int) -> bytes:
        return bytes(each ^ (1 << bit % 8 if at == bit // 8 else 0) for at, each in enumerate(row))

    held = state.Redis("redis://127.0.0.1:1", steps=5, keep_seconds=60)
    monkeypatch.setattr(held._client, "eval", asked)
    monkeypatch.setattr(held._client, "lrange", rows)
    asyncio.run(held.append("session:x", [step]))
    assert list(asyncio.run(held.history("session:x"))) == [step, step], "the second is of a server of before"


def test_a_server_logs_its_answers_and_what_it_is_told_under_pseudonyms(tmp_path: Path, params: Params) -> None:
    served = online_shop.exported(tmp_path)
    engine = Engine({served.model: served})
    live = Live(params, Paths(tmp_path), engine)
    memory = state.Memory(subjects=9, steps=9, keep_seconds=60)
    given = {"observers": (live.observe,), "choose": live.choose, "extra": {"live": live}}
    told = Settings(pseudonym=lambda kind, raw: server.pseudonym(b"k" * 32, kind, raw), **given)  # type: ignore[arg-type]
    made = app(engine, memory, told)
    engine.swap(replace(served, model=canary_of(served.model), version=2))
    began = ledger.Entry(**dict.fromkeys(("time", "actor", "reason", "hash", "before"), ""), number=7, action="canary",
        model=served.model, version=2, champion=1, previous=0, facts={"share": 1.0})  # fmt: skip
    live.arms.canaries = {served.model: began}

    async def asked() -> list[Any]:
        transport = httpx.ASGITransport(made)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            step = {"session": "a visit of ann", "events": [{"item": "5"}]}
            bodies = [
                ("events", step),
                ("recommend", {"session": "a visit of ann", "k": 3}),
                ("recommend", {"history": [{"item": "5"}]}),
                ("recommend/batch", {"questions": [{"history": [{"item": "5"}]}, {"history": [{"item": "6"}]}]}),
                ("feedback", {"request": "r", "clicked": ["5"], "bought": ["6"], "value": 2.5}),
            ]
            found = [await client.post(f"/v1/{path}", json=body) for path, body in bodies]
            return [*found, await client.get("/v1/live"), await client.get("/v1/models")]

    answers = asyncio.run(asked())
    assert [each.status_code for each in answers] == [200] * 7, [each.text for each in answers]
    assert [each.json()["version"] for each in answers[1:3]] == [2, 1], "nobody in particular has the champion's"
    assert {each.json()["model"] for each in answers[1:3]} == {served.model}, "a canary's name is the engine's own"
    assert len(answers[6].json()["models"]) == 1, "a canary is no model of its own"
    made.state.service.observers.close()
    live.log.flush()
    rows = log.read(live.log.folder, "answers").to_pylist()
    ids = [answers[place].headers["x-request-id"] for place in (1, 2, 3)]
    assert {row["request"] for row in rows} == {ids[0], ids[1], f"{ids[2]}.0", f"{ids[2]}.1"}, "a batch's, each"
    ranked = {row["arm"]: row for row in rows if row["kind"] == "ranking"}
    assert (ranked[log.CANARY]["test"], ranked[log.CHAMPION]["test"]) == (7, 0)
    assert ranked[log.CANARY]["labels"] == [item["item"] for item in answers[1].json()["items"]]
    assert {row["kind"] for row in log.read(live.log.folder, "outcomes").to_pylist()} == {"step", "clicked", "bought"}
    assert b"ann" not in b"".join(file.read_bytes() for file in live.log.folder.rglob("*.parquet"))


def test_who_was_forgotten_is_not_written_any_more(tmp_path: Path) -> None:
    own = Log(log.place(tmp_path), clock=Clock())
    key = load_key(tmp_path)
    for who in ("ann", "bob"):
        own.put("answers", **answer(f"of {who}", user_id=who, session_id=f"visit of {who}"))
    own.flush()
    own.put("outcomes", kind=log.STEP, user_id="ann", item="b", action="view")
    forgotten.add(tmp_path, key, {"user": ["ann"]})
    log.settled(own.folder)
    own.flush()
    assert log.visits(own.folder, ["ann"]) == {"ann": ["visit of ann"]}
    assert log.read(own.folder, "outcomes").num_rows == 0


def test_forgetting_finds_the_log_of_answers(tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path))
    key, own = load_key(tmp_path), Log(log.place(tmp_path), clock=Clock())
    ann, bob = (server.pseudonym(key, "customer", who) for who in ("ann", "bob"))
    visit = server.pseudonym(key, "session", "hers")
    for user, session in ((ann, visit), (None, visit), (bob, "another")):
        own.put("answers", **answer(f"of {user}", user_id=user, session_id=session))
        own.put("outcomes", kind=log.STEP, user_id=user, session_id=session, item="b", action="view")
    own.flush()
    who = People(tuple(people.find(params, Paths(tmp_path), ["ann"], key)), key)
    assert who.sessions == {visit}, "a visit that only the server knows, before she signed in too"
    removed = list(leftovers.in_home(Paths(tmp_path), who, dry=False))
    assert sum(thing.rows for thing in removed) == 4
    assert all(log.read(own.folder, table)["user_id"].to_pylist() == [bob] for table in log.COLUMNS)


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
    found = {
        each.output.name: each
        for each in join.judged(params, log.read(own.folder, "answers"), log.read(own.folder, "outcomes"), now)
    }
    event, _, end = split.questions()
    target = HEADS["next_item"].targets(split, event, end, card)
    asked = np.flatnonzero(target >= 0)
    ranks = ranking.ranks(scores[asked], target[asked])
    live = found["next_item"]
    assert live.answers.tolist() == np.where(ranks <= 20, ranks, 0).tolist()
    action_target = HEADS["next_action"].targets(split, event, end, card)
    assert found["next_action"].target.tolist() == action_target.tolist()
    np.testing.assert_allclose(found["next_action"].answers, np.log(chances), rtol=1e-4)
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
    found = metrics.joined(params, *rows, own.now() + days * 24 * 60 * MINUTE)
    assert {each.output.name: each.waiting for each in found.judged} == dict.fromkeys(given, int(days < 7))
    heads = metrics.summary(params, found)[0]["heads"]
    assert {name: bool(heads[name]["metrics"]) for name in given} == dict.fromkeys(given, days > 7)


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
    found = metrics.joined(params, *rows, own.now() + 99 * MINUTE)
    (line,) = metrics.agreement(found)
    assert (line["champion"], line["shadow"], line["agreement"]) == (1, 2, 0.5)
    assert metrics.paired(params, found, "next_step", "recall@1", 2).tolist() == [1.0] * 6


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_who_is_in_at_a_share_stays_in_at_a_larger_one(subject: str, one: float, other: float) -> None:
    at = place(subject, "next_step", 4)
    assert at == place(subject, "next_step", 4)
    less, more = sorted((one, other))
    assert not at < less or at < more


def test_places_are_even_and_of_two_tests_independent() -> None:
    people = [f"p{number}" for number in range(4000)]
    one = np.array([place(who, "m", 1) for who in people])
    two = np.array([place(who, "m", 2) for who in people])
    assert abs((one < 0.05).mean() - 0.05) < 0.015
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.06


def looks(draw: np.random.Generator, champion: float, canary: float, visitors: int, share: float) -> Any:
    group = draw.random(visitors) < share
    value = (draw.random(visitors) < np.where(group, canary, champion)).astype(np.float64)
    return sequential.by_turns(group, value)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_chance_alone_ends_no_canary_however_often_one_looks(share: float) -> None:
    """The largest e-value of the whole path is what somebody sees who looks after every visitor."""
    draw, alpha, runs = np.random.default_rng(1), 0.05, 200
    found = [
        sequential.evidence(looks(draw, 0.3, 0.3, 1500, share), margin=0.0, alpha=alpha, grid=False)
        for _ in range(runs)
    ]
    wrong = max(sum(each.better >= 1 / alpha for each in found), sum(each.worse >= 1 / alpha for each in found))
    assert wrong <= alpha * runs


def test_a_real_difference_is_found_and_lies_in_the_interval() -> None:
    draw = np.random.default_rng(2)
    better = [sequential.evidence(looks(draw, 0.3, 0.4, 3000, 0.5), margin=0.0, alpha=0.05) for _ in range(10)]
    assert sum(each.better >= 20 for each in better) >= 9
    assert sum(each.low <= 0.1 <= each.high for each in better) >= 9
    worse = sequential.evidence(looks(draw, 0.4, 0.3, 4000, 0.5), margin=0.01, alpha=0.05)
    assert worse.worse >= 20
    assert worse.better < 20
    nothing = sequential.evidence(np.zeros(0), margin=0.01, alpha=0.05)
    assert (nothing.pairs, nothing.mean) == (0, None)


def test_what_was_seen_earlier_stays_as_it_was(tmp_path: Path, params: Params) -> None:
    """A later look adds visitors behind those of an earlier one: otherwise looking early would not be allowed."""
    clock = Clock()
    own = Log(log.place(tmp_path), clock=clock)
    draw = np.random.default_rng(5)
    for number in range(60):
        who = {"session_id": f"s{number}"}
        arm = {"arm": log.CANARY, "version": 2} if number % 2 else {"arm": log.CHAMPION}
        own.put("answers", **answer(f"r{number}", **who, **arm, test=3, labels=list("abcd")))
        own.put("outcomes", kind=log.STEP, **who, item=str(draw.choice(list("abef"))), action="view")
        clock.forward(120 * MINUTE)
    own.flush()
    rows = log.read(own.folder, "answers"), log.read(own.folder, "outcomes")
    seen = []
    for later in (-40 * 120 * MINUTE, 30 * 60 * MINUTE):
        now = own.now() + later
        found = metrics.joined(params, *rows, now)
        groups = {number: group.arm == log.CANARY for number, group in enumerate(found.groups)}
        seen.append(metrics.visitors(params, found, "next_step", groups, "recall@1", now))
    first, last = seen
    assert 0 < len(first.value) < len(last.value) == 60
    assert last.value[: len(first.value)].tolist() == first.value.tolist()
    assert last.candidate[: len(first.value)].tolist() == first.candidate.tolist()
