"""The log of answers: what is put is read once, nothing is lost in silence, and nobody is in it who was forgotten."""

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
import online_shop
import pyarrow as pa
import pytest
from live_log import MINUTE, START, Clock, answer, params_of
from pyarrow import parquet

from clickflow.events import forgotten
from clickflow.events.pseudonyms import load_key
from clickflow.online import state
from clickflow.online.engine import Engine
from clickflow.online.history import Step
from clickflow.online.http import server
from clickflow.online.http.app import app
from clickflow.online.http.settings import Settings
from clickflow.online.live import log
from clickflow.online.live.arms import canary_of
from clickflow.online.live.live import Live
from clickflow.online.live.log import Log
from clickflow.params.schema import Params
from clickflow.privacy import leftovers, people
from clickflow.privacy.people import People
from clickflow.registry import ledger
from clickflow.system.errors import DataError
from clickflow.system.paths import Paths


@pytest.fixture
def params(root: Path) -> Params:
    return params_of(root)


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


def test_many_rows_of_one_flush_are_one_file_in_order(tmp_path: Path) -> None:
    own = Log(log.place(tmp_path), clock=Clock())
    for number in range(2 * log.AT_ONCE + 7):
        own.put("answers", **answer(f"r{number}", labels=(f"i{number}",), scores=(number / 8,)))
    own.flush()
    (file,) = own.folder.rglob("*.parquet")
    assert parquet.ParquetFile(file).num_row_groups == 1
    rows = log.read(own.folder, "answers").to_pylist()
    assert [row["request"] for row in rows] == [f"r{number}" for number in range(2 * log.AT_ONCE + 7)]
    assert all(row["labels"] == [f"i{n}"] and row["scores"] == [n / 8] for n, row in enumerate(rows))


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
    row = msgspec.msgpack.encode(Step(item="a", time=5))

    async def rows(*_: object) -> list[bytes]:
        return [row[:-1] + b"\xc1", row, b"", msgspec.msgpack.encode(17)]

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


def test_a_file_from_before_there_were_pins_is_read(tmp_path: Path) -> None:
    own = Log(log.place(tmp_path), clock=Clock())
    own.put("answers", **answer("r"))
    own.flush()
    (file,) = own.folder.glob("answers/*/*.parquet")
    parquet.write_table(parquet.read_table(file, partitioning=None).drop_columns(["pinned"]), file)
    (row,) = log.read(own.folder, "answers").to_pylist()
    assert (row["request"], row["pinned"]) == ("r", None)


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

    async def evaluate(*words: Any) -> list[int]:
        kept.append(words[-1])
        return [1, 1]

    async def rows(*_: object) -> list[bytes]:
        (whole,) = kept
        return [whole, *(flipped(whole, bit) for bit in range(8 * len(whole))), msgspec.msgpack.encode(step)]

    def flipped(row: bytes, bit: int) -> bytes:
        return bytes(each ^ (1 << bit % 8 if at == bit // 8 else 0) for at, each in enumerate(row))

    held = state.Redis("redis://127.0.0.1:1", steps=5, keep_seconds=60)
    monkeypatch.setattr(held._client, "eval", evaluate)
    monkeypatch.setattr(held._client, "lrange", rows)
    asyncio.run(held.append("session:x", [step]))
    assert list(asyncio.run(held.history("session:x"))) == [step, step], "the second is of a server of before"


def test_a_server_logs_its_answers_and_what_it_is_told_under_pseudonyms(tmp_path: Path, params: Params) -> None:
    served = online_shop.exported(tmp_path)
    engine = Engine({served.model: served})
    live = Live(params, Paths(tmp_path), engine)
    memory = state.Memory(subjects=9, steps=9, keep_seconds=60)
    given = {"observers": (live.observe,), "choose": live.choose, "extra": {"live": live}}
    settings = Settings(pseudonym=lambda kind, raw: server.pseudonym(b"k" * 32, kind, raw), **given)  # type: ignore[arg-type]
    application = app(engine, memory, settings)
    engine.swap(replace(served, model=canary_of(served.model), version=2))
    began = ledger.Entry(**dict.fromkeys(("time", "actor", "reason", "hash", "before"), ""), number=7, action="canary",
        model=served.model, version=2, champion=1, previous=0, facts={"share": 1.0})  # fmt: skip
    live.arms.canaries = {served.model: began}

    async def responses() -> list[Any]:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            step = {"session": "a visit of ann", "events": [{"item": "5"}]}
            bodies = [
                ("events", step),
                ("recommend", {"session": "a visit of ann", "k": 3}),
                ("recommend", {"history": [{"item": "5"}], "pins": [{"item": "new", "place": 1}]}),
                ("recommend/batch", {"questions": [{"history": [{"item": "5"}]}, {"history": [{"item": "6"}]}]}),
                ("feedback", {"request": "r", "clicked": ["5"], "bought": ["6"], "value": 2.5}),
            ]
            posted = [await client.post(f"/v1/{path}", json=body) for path, body in bodies]
            return [*posted, await client.get("/v1/live"), await client.get("/v1/models")]

    answers = asyncio.run(responses())
    assert [each.status_code for each in answers] == [200] * 7, [each.text for each in answers]
    assert [each.json()["version"] for each in answers[1:3]] == [2, 1], "nobody in particular has the champion's"
    assert {each.json()["model"] for each in answers[1:3]} == {served.model}, "a canary's name is the engine's own"
    assert len(answers[6].json()["models"]) == 1, "a canary is no model of its own"
    application.state.service.observers.close()
    live.log.flush()
    rows = log.read(live.log.folder, "answers").to_pylist()
    ids = [answers[place].headers["x-request-id"] for place in (1, 2, 3)]
    assert {row["request"] for row in rows} == {ids[0], ids[1], f"{ids[2]}.0", f"{ids[2]}.1"}, "a batch's, each"
    ranked = {row["arm"]: row for row in rows if row["kind"] == "ranking"}
    assert (ranked[log.CANARY]["test"], ranked[log.CHAMPION]["test"]) == (7, 0)
    assert ranked[log.CANARY]["labels"] == [item["item"] for item in answers[1].json()["items"]]
    (mixed,) = [row for row in rows if row["request"] == ids[1] and row["kind"] == "ranking"]
    items = [item["item"] for item in answers[2].json()["items"]]
    assert (mixed["pinned"], mixed["labels"], mixed["plain"]) == (["new"], items[1:], False)
    assert {row["kind"] for row in log.read(live.log.folder, "outcomes").to_pylist()} == {"step", "clicked", "bought"}
    assert b"ann" not in b"".join(file.read_bytes() for file in live.log.folder.rglob("*.parquet"))


def test_a_word_of_one_name_counts_once_an_answer(tmp_path: Path, params: Params) -> None:
    """A shop may call what it says of every first page `page 1`."""
    live = Live(params, Paths(tmp_path), Engine({}))
    for request in ("r1", "r2", "r1"):
        live.feedback(request, {log.CLICKED: ["a", "b"]}, None, "page 1")
    live.log.flush()
    rows = log.read(live.log.folder, "outcomes").select(["request", "item"]).to_pylist()
    assert [(row["request"], row["item"]) for row in rows] == [("r1", "a"), ("r1", "b"), ("r2", "a"), ("r2", "b")]


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
