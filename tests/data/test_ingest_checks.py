"""What makes a row good, and which reasons it is given when it is not."""

import datetime
import gzip
import io
import json
import zoneinfo
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_setup import HEADER, Desk, row

from clickflow.events import times
from clickflow.events.contract import COLUMNS, EVENT_TYPES, REASONS, SCHEMA
from clickflow.system.errors import ClickflowError

UTC = datetime.UTC
DUCK = duckdb.connect()


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    return Desk(tmp_path / "w", raw_params)


BAD: list[tuple[bytes, list[str]]] = [
    (b"2026-01-05 10:00:00,view,u1\n", ["wrong_columns"]),
    (row()[:-1] + b",more\n", ["wrong_columns"]),
    (b'2026-01-05 10:00:00,view,"u1,s1,i1,,,,,\n', ["bad_quotes"]),
    (row(brand="caf").replace(b"caf", b"caf\xe9"), ["broken_encoding"]),
    (row(brand="a\0b"), ["broken_encoding"]),
    (row(time=""), ["unparseable_time"]),
    (row(time="yesterday"), ["unparseable_time"]),
    (row(time="2026-02-30 10:00:00"), ["unparseable_time"]),
    (row(time="1767607200"), ["unparseable_time"]),
    (row(time="1969-12-31 23:59:59"), ["unparseable_time"]),
    (row(time="infinity"), ["unparseable_time"]),
    (row(time="2026-06-01 00:05:01"), ["future_time"]),
    (row(time="2086-01-05 10:00:00"), ["future_time"]),
    (row(kind="teleport"), ["unknown_type"]),
    (row(kind=""), ["unknown_type"]),
    (row(item=""), ["null_item"]),
    (row(kind="purchase", item="NULL"), ["null_item"]),
    (row(user="", session=""), ["null_user_and_session"]),
    (row(user="nan", session="None"), ["null_user_and_session"]),
    (row(price="abc"), ["bad_number"]),
    (row(price="nan"), ["bad_number"]),
    (row(price="inf"), ["bad_number"]),
    (row(price="1e999"), ["bad_number"]),
    (row(quantity="1.5"), ["bad_number"]),
    (row(quantity="1e300"), ["bad_number"]),
    (row(price="-0.01"), ["negative_price"]),
    (row(quantity="-1"), ["negative_quantity"]),
    (row(quantity="0"), ["zero_quantity"]),
    (row(user="9007199254740992.0"), ["inexact_id"]),
    (row(category="1.2345678901234568e+18"), ["inexact_id"]),
    (row(user="[1]", session="s"), ["not_scalar"]),
    (row(brand="['a']"), ["not_scalar"]),
    (row(brand="x" * 257), ["too_long"]),
    (row(category="ü" * 129), ["too_long"]),
    (row(session="s" * 300), ["too_long"]),
    (
        row(time="?", kind="?", user="", session="", price="-1", quantity="-1"),
        ["unparseable_time", "unknown_type", "null_user_and_session", "negative_price", "negative_quantity"],
    ),
    (
        row(kind="view", item="", user="", session="", time=""),
        ["unparseable_time", "null_item", "null_user_and_session"],
    ),
    (row(), ["duplicate"]),
    (b" 2026-01-05T10:00:00.000Z, View ,u1,s1,\ti1,null,,,,\n", ["duplicate"]),
    (b'"2026-01-05 11:00:00+01:00","view","u1","s1","i1","","","","",""\n', ["duplicate"]),
    (b"2026-01-05 10:00:00,view,u1,s1,i1,\n", ["truncated"]),
]


def test_every_reason_with_its_line_and_exact_text(desk: Desk) -> None:
    desk.put("a.csv", HEADER + row() + b"\n" + b"".join(raw for raw, _ in BAD))
    outcome = desk.ingest(ingest__bad_optional="quarantine")
    assert outcome.card["read"] == len(BAD) + 1
    assert outcome.card["accepted"] == 1
    assert outcome.card["sources"][0]["blank_lines"] == 1
    assert outcome.reasons() == {4 + at: reasons for at, (_, reasons) in enumerate(BAD)}
    assert outcome.raw() == {4 + at: raw.removesuffix(b"\n") for at, (raw, _) in enumerate(BAD)}
    assert {entry["source"] for entry in outcome.quarantine} == {"a.csv"}
    counted = {reason: sum(reason in reasons for _, reasons in BAD) for reason in REASONS}
    assert outcome.card["reasons"] == {reason: count for reason, count in counted.items() if count}


GOOD: list[tuple[bytes, dict[str, Any]]] = [
    (row(brand="x" * 256), {"brand": "x" * 256}),
    (row(time="2026-06-01 00:05:00"), {"event_time": datetime.datetime(2026, 6, 1, 0, 5, tzinfo=UTC)}),
    (row(time="2026-01-05"), {"event_time": datetime.datetime(2026, 1, 5, tzinfo=UTC)}),
    (row(time="2026-01-05 10:00:00.1"), {"event_time": datetime.datetime(2026, 1, 5, 10, 0, 0, 100_000, tzinfo=UTC)}),
    (row(kind="SEARCH", item=""), {"event_type": "search", "item_id": None}),
    (row(kind="click", item="", campaign="c1"), {"event_type": "click", "campaign": "c1"}),
    (row(user="", session="s9"), {"user_id": None}),
    (row(session=""), {"session_id": None}),
    (row(price="0", quantity="2.0"), {"price": 0.0, "quantity": 2}),
    (row(price="-0.0"), {"price": 0.0}),
    (row(price="1e2"), {"price": 100.0}),
    (row(category="a.b.c", brand="5\" screen"), {"category": "a.b.c", "brand": '5" screen'}),
    (b'2026-01-05 10:00:00,view,u1,s1,i1,"a, b\nc ""d""",,,,\n', {"category": 'a, b\nc "d"'}),
    (row(brand="日本").replace(b"\n", b"\r\n"), {"brand": "日本"}),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "expected"), GOOD)
def test_good_rows(desk: Desk, raw: bytes, expected: dict[str, Any]) -> None:
    desk.put("a.csv", HEADER + raw)
    events = desk.ingest().events
    assert events.schema.equals(SCHEMA)
    event = events.to_pylist()[0]
    assert {name: event[name] for name in expected} == expected
    assert str(event["price"]) != "-0.0"


def test_events_are_sorted_and_filed_by_day(desk: Desk) -> None:
    order = np.random.default_rng(0).permutation(300)
    lines = [
        row(f"2026-01-{5 + n % 3:02} 10:00:{n % 60:02}", user=f"u{n % 9}", session="s" * (n % 4), item=f"i{n}")
        for n in order.tolist()
    ]
    desk.put("a.csv", HEADER + b"".join(lines))
    outcome = desk.ingest()
    days = sorted(outcome.paths.events.glob("day=*/events.parquet"))
    assert [path.parent.name for path in days] == ["day=2026-01-05", "day=2026-01-06", "day=2026-01-07"]
    for path in days:
        table = pq.read_table(path, partitioning=None)
        assert {f"day={time.date()}" for time in table["event_time"].to_pylist()} == {path.parent.name}
        keys = [
            (time, session is not None, session or user)
            for time, session, user in zip(
                *(table[name].to_pylist() for name in ("event_time", "session_id", "user_id")), strict=True
            )
        ]
        assert keys == sorted(keys)
    assert outcome.events.column_names == list(COLUMNS)


def test_guests_by_param(desk: Desk) -> None:
    desk.put("a.csv", HEADER + row() + row(user="", session="s2") + row(user="", session=""))
    assert desk.ingest().reasons() == {4: ["null_user_and_session"]}
    strict = desk.ingest(ingest__require_user=True)
    assert strict.reasons() == {3: ["null_user"], 4: ["null_user_and_session", "null_user"]}


def test_of_equal_rows_the_first_by_source_and_line_stays(desk: Desk) -> None:
    desk.put("b.csv", HEADER + row())
    desk.put("a.csv", HEADER + row(item="i2") + row() + row(brand="") + row(brand="x"))
    outcome = desk.ingest()
    assert [(e["source"], e["line"], e["reasons"]) for e in outcome.quarantine] == [
        ("a.csv", 4, ["duplicate"]),
        ("b.csv", 2, ["duplicate"]),
    ]


FORMS: list[tuple[str | None, str, Any, str]] = [
    ("s", "UTC", "1767607200", "2026-01-05T10:00:00+00:00"),
    ("s", "UTC", "1767607200.25", "2026-01-05T10:00:00.250000+00:00"),
    ("ms", "UTC", "1767607200123", "2026-01-05T10:00:00.123000+00:00"),
    ("us", "UTC", "1767607200123456", "2026-01-05T10:00:00.123456+00:00"),
    ("%d/%m/%Y %H:%M", "UTC", "05/01/2026 10:00", "2026-01-05T10:00:00+00:00"),
    ("%d/%m/%Y %H:%M", "Europe/Berlin", "05/01/2026 10:00", "2026-01-05T09:00:00+00:00"),
    ("%Y-%m-%dT%H:%M:%S%z", "Europe/Berlin", "2026-01-05T10:00:00+0500", "2026-01-05T05:00:00+00:00"),
    (None, "Europe/Berlin", "2025-07-05 10:00:00", "2025-07-05T08:00:00+00:00"),
    (None, "Europe/Berlin", "2026-01-05T10:00:00Z", "2026-01-05T10:00:00+00:00"),
    (None, "America/New_York", "2026-01-05 10:00:00 UTC", "2026-01-05T10:00:00+00:00"),
    (None, "UTC", "2026-01-05 10:00:00-0330", "2026-01-05T13:30:00+00:00"),
    (None, "UTC", "2026-03-01 09:00:00 +0400", "2026-03-01T05:00:00+00:00"),
    (None, "Europe/Berlin", "2026-03-01T09:00:00.5 -03:30", "2026-03-01T12:30:00.500000+00:00"),
    (None, "UTC", "2026-03-01 09:00 +04", "2026-03-01T05:00:00+00:00"),
    ("order", "UTC", "7", "2000-01-01T00:03:00.000007+00:00"),
]


@pytest.mark.parametrize(("form", "zone", "text", "expected"), FORMS)
def test_time_formats(desk: Desk, form: str | None, zone: str, text: str, expected: str) -> None:
    desk.put("a.csv", HEADER + row(time=text, session="3"))
    events = desk.ingest(source__time_format=form, source__timezone=zone).events
    assert events["event_time"][0].as_py() == datetime.datetime.fromisoformat(expected)


@settings(max_examples=100, deadline=None)
@given(
    moments=st.lists(st.datetimes(), min_size=1, max_size=20),
    shape=st.sampled_from(["{} {}", "{}T{}", "{} {} UTC", "{}T{}Z", "{}T{}+00:00"]),
    junk=st.lists(st.text("0123456789-: TZ.+", max_size=27), max_size=5),
)
def test_the_fast_way_to_read_times_is_right(moments: list[datetime.datetime], shape: str, junk: list[str]) -> None:
    texts = [shape.format(*moment.isoformat(sep=" ").split(" ")) for moment in moments]
    micros, known, _ = times.parse(pa.array(texts + junk), None, "UTC", DUCK)
    DUCK.execute("SET TimeZone = 'UTC'")
    slow = DUCK.sql(f"SELECT epoch_us(try_cast(x AS TIMESTAMPTZ)) FROM (SELECT unnest({junk}::VARCHAR[]) x)").fetchall()
    epoch = datetime.datetime.fromisoformat("1970-01-01")
    assert known[: len(texts)].all()
    assert micros[: len(texts)].tolist() == [
        (moment - epoch) // datetime.timedelta(microseconds=1) for moment in moments
    ]
    for text, value, fine, (expected,) in zip(junk, micros[len(texts) :], known[len(texts) :], slow, strict=True):
        if text[:1].isdigit():
            assert (int(value) if fine else None) == expected, text
        else:
            assert not fine


ROWS = [
    {
        "when": datetime.datetime(2026, 1, 5, 10, n, tzinfo=UTC),
        "kind": kind,
        "who": 17 + n,
        "what": f"i{n}",
        "euro": n / 4,
    }
    for n, kind in enumerate(["view", "cart", "purchase", "view", "kaputt"])
]
MAPPED = {"event_time": "when", "event_type": "kind", "user_id": "who", "item_id": "what", "price": "euro"}


def written(kind: str) -> bytes:
    if kind == "parquet":
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(ROWS), out)
        return out.getvalue()
    if kind == "jsonl":
        return b"".join(json.dumps(entry, default=str).encode() + b"\n" for entry in ROWS)
    mark = "," if kind == "csv" else "\t"
    return "\n".join(mark.join(map(str, entry)) for entry in [list(ROWS[0]), *(e.values() for e in ROWS)]).encode()


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_same_log_in_every_format(desk: Desk, tmp_path: Path, raw_params: Any, kind: str, packed: bool) -> None:
    if packed and kind == "parquet":
        pytest.skip("Parquet has its own compression")
    data = written(kind)
    desk.put(f"log.{kind}{'.gz' if packed else ''}", gzip.compress(data) if packed else data)
    outcome = desk.ingest(source__columns=MAPPED)
    other = Desk(tmp_path / "plain", raw_params)
    other.put("log.csv", written("csv"))
    plain = other.ingest(source__columns=MAPPED)
    assert outcome.events.equals(plain.events)
    assert outcome.events.num_rows == 4
    assert outcome.quarantine[0]["reasons"] == ["unknown_type"]
    assert outcome.quarantine[0]["line"] == {"csv": 6, "tsv": 6, "jsonl": 5, "parquet": 5}[kind]
    assert "kaputt" in outcome.quarantine[0]["raw"]


def test_types_of_a_table(desk: Desk) -> None:
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    table = pa.table(
        {
            "event_time": pa.array(
                [datetime.datetime.fromisoformat(f"2026-01-05T10:0{n}") for n in range(6)], pa.timestamp("ns")
            ),
            "event_type": pa.array(["view"] * 6).dictionary_encode(),
            "user_id": pa.array([1.0, 2.0, None, 4.0, 5.0, 6.0]),
            "session_id": pa.array([10, 11, 12, 13, 14, 15], pa.uint8()),
            "item_id": pa.array([b"i0", b"i1", b"i2", b"\xff", b"i4", b"i5"], pa.binary()),
            "price": pa.array([1.5, float("nan"), float("inf"), 1.0, -1.0, 2.0]),
            "quantity": pa.array([None, 1, 2, 3, 4, 0], pa.int32()),
            "category": pa.array([["a", "b"]] * 6),
        }
    )
    out = io.BytesIO()
    pq.write_table(table, out)
    desk.put("a.parquet", out.getvalue())
    outcome = desk.ingest(source__timezone="Europe/Berlin")
    events = outcome.events.to_pylist()
    assert [(e["item_id"], e["price"], e["quantity"]) for e in events] == [
        ("i0", 1.5, None),
        ("i1", None, 1),
        ("i2", None, 2),
    ]
    assert events[0]["event_time"] == datetime.datetime(2026, 1, 5, 10, tzinfo=berlin)
    assert events[0]["category"] is None
    assert outcome.card["unread"] == {
        "category": {"not_scalar": {"count": 3, "source": "a.parquet", "line": 1, "text": '["a","a"]'}},
        "price": {"bad_number": {"count": 1, "source": "a.parquet", "line": 3, "text": "aaa"}},
    }
    assert outcome.reasons() == {
        4: ["broken_encoding"], 5: ["negative_price"], 6: ["zero_quantity"],
    }  # fmt: skip
    assert json.loads(outcome.quarantine[0]["raw"])["quantity"] == 3


def test_json_lines_reach_into_objects(desk: Desk) -> None:
    lines = [
        {"t": 1767607200, "type": "view", "user": {"id": 5}, "sku": 12.0},
        {"t": 1767607201, "type": "view", "user": None, "sku": 12},
        ["no", "object"],
        {"t": 1767607202, "type": "view", "user": {"id": "x"}, "sku": "s", "price": 3},
    ]
    desk.put("a.jsonl", b"\n".join(json.dumps(line).encode() for line in lines) + b'\n{"t": 17\n{"\xff": 1}')
    outcome = desk.ingest(
        source__columns={"event_time": "t", "event_type": "type", "user_id": "user.id", "item_id": "sku"},
        source__time_format="s",
    )
    assert outcome.events["item_id"].to_pylist() == ["12", "s"]
    assert outcome.events["price"].to_pylist() == [None, 3.0]
    assert outcome.reasons() == {
        2: ["null_user_and_session"], 3: ["bad_json"], 5: ["bad_json"], 6: ["broken_encoding"],
    }  # fmt: skip
    assert outcome.raw()[6] == b'{"\xff": 1}'


def test_event_types_are_mapped_before_they_are_canonical(desk: Desk) -> None:
    desk.put("a.csv", HEADER + row(kind="VIEW", item="1") + row(kind="pdp", item="2") + row(kind="xyz", item="3"))
    outcome = desk.ingest(source__event_types={"pdp": "view"})
    assert outcome.events["event_type"].to_pylist() == ["view", "view"]
    rest = desk.ingest(source__event_types={"pdp": "view", "view": "click", "*": "cart"})
    types = dict(zip(rest.events["item_id"].to_pylist(), rest.events["event_type"].to_pylist(), strict=True))
    assert types == {"1": "click", "2": "view", "3": "cart"}
    assert set(types.values()) <= set(EVENT_TYPES)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_hostile_files_never_lose_a_row(tmp_path_factory: Any, root: Path, data: st.DataObject) -> None:
    import yaml

    raw = yaml.safe_load((root / "tests/assets/params_long.yaml").read_text())
    desk = Desk(tmp_path_factory.mktemp("hostile") / "w", raw)
    field = st.one_of(
        st.text(max_size=6), st.sampled_from(["view", "2026-01-05 10:00:00", "u", '"', '"a"', "-1", "", "\n"])
    )
    line = st.one_of(st.lists(field, max_size=12).map(",".join).map(str.encode), st.binary(max_size=60))
    hostile = data.draw(st.lists(line, max_size=15).map(b"\n".join))
    name = data.draw(st.sampled_from(["a.csv", "a.tsv", "a.jsonl"]))
    good = {"a.csv": HEADER + row(), "a.tsv": (HEADER + row()).replace(b",", b"\t")}.get(
        name, b'{"event_time":"2026-01-05","event_type":"view","user_id":"u","item_id":"i"}\n'
    )
    text = good + hostile
    packed = data.draw(st.booleans())
    desk.put(name + ".gz" * packed, gzip.compress(text) if packed else text)
    try:
        outcome = desk.ingest()  # holds the sums
    except ClickflowError:
        pytest.fail("a file with one good row can be ingested")
    lines = text.split(b"\n")
    for entry in outcome.quarantine:
        raw_row = outcome.raw()[entry["line"]]
        span = raw_row.count(b"\n") + 1
        assert b"\n".join(lines[entry["line"] - 1 : entry["line"] - 1 + span]).removesuffix(b"\r") == raw_row
