"""Values inside objects and lists, of JSON lines and of Parquet alike: paths, keys and values, elements as events."""

import gzip
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_setup import Desk

from clickflow.events.jsonlines import JsonLines
from clickflow.events.replay import replay
from clickflow.system.errors import DataError

GA4 = [
    {
        "event_timestamp": 1767607200000000 + n,
        "event_name": name,
        "user": {"pseudo": {"id": f"u{n % 2}"}},
        "event_params": [
            {"key": "session", "value": {"string_value": None, "int_value": 70 + n}},
            {"key": "campaign", "value": {"string_value": f"c{n}", "int_value": None}},
        ],
        "items": items,
    }
    for n, (name, items) in enumerate(
        [
            ("purchase", [{"sku": "A", "price": 1.5}, {"sku": "B", "price": 2.0}]),
            ("page_view", []),
            ("purchase", [{"sku": "C", "price": None}]),
            ("session_start", None),
        ]
    )
]
COLUMNS = {
    "event_time": "event_timestamp",
    "event_type": "event_name",
    "user_id": "user.pseudo.id",
    "session_id": "event_params[session]",
    "campaign": "event_params[campaign]",
    "item_id": "items.sku",
    "price": "price",
}
GIVEN = {
    "source__columns": COLUMNS,
    "source__explode": "items",
    "source__time_format": "us",
    "source__event_types": {"page_view": "impression"},
}


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    return Desk(tmp_path / "w", raw_params)


def written(kind: str, rows: list[dict[str, Any]]) -> bytes:
    if kind == "jsonl":
        return b"".join(json.dumps(each).encode() + b"\n" for each in rows)
    if kind == "json":
        return json.dumps(rows, indent=2).encode()
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


KINDS = ["jsonl", "parquet"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_ga4_export_is_one_event_an_item(desk: Desk, kind: str) -> None:
    desk.put(f"a.{kind}", written(kind, GA4))
    outcome = desk.ingest(**GIVEN)
    events = outcome.events.select(["event_type", "item_id", "price", "campaign"]).to_pylist()
    assert [tuple(event.values()) for event in events] == [
        ("purchase", "A", 1.5, "c0"),
        ("purchase", "B", 2.0, "c0"),
        ("impression", None, None, "c1"),
        ("purchase", "C", None, "c2"),
    ]
    assert outcome.events["session_id"].null_count == 0
    assert [(entry["line"], entry["reasons"]) for entry in outcome.quarantine] == [(4, ["unknown_type"])]


def test_json_lines_and_parquet_give_the_same_events(desk: Desk) -> None:
    desk.put("a.jsonl", written("jsonl", GA4))
    lines = desk.ingest(**GIVEN).events
    (desk.log / "a.jsonl").rename(desk.log.parent / "moved")
    desk.put("a.parquet", written("parquet", GA4))
    assert desk.ingest(**GIVEN).events.equals(lines)


@pytest.mark.parametrize("kind", KINDS)
def test_replay_of_exploded_rows(desk: Desk, kind: str) -> None:
    rows = [{**each, "event_name": "odd" if n == 0 else each["event_name"]} for n, each in enumerate(GA4)]
    desk.put(f"a.{kind}", written(kind, rows))
    first = desk.ingest(**GIVEN)
    assert [entry["line"] for entry in first.quarantine] == [1, 1, 4]
    assert json.loads(first.quarantine[1]["raw"])["items"] == {"sku": "B", "price": 2.0}
    more = {**GIVEN, "source__event_types": {"page_view": "impression", "odd": "purchase", "session_start": "ignore"}}
    result = replay(desk.params(**more), desk.paths)
    assert (result["taken_in"], result["still_quarantined"], result["ignored"]) == (2, 0, 1)
    before = desk.bytes()
    (desk.paths.events / "_manifest.json").unlink()
    desk.ingest(**more)
    assert desk.bytes() == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_that_is_not_exploded_is_no_value(desk: Desk, kind: str) -> None:
    desk.put(f"a.{kind}", written(kind, GA4))
    desk.put("b.jsonl", written("jsonl", [{**GA4[0], "items": {"sku": "Z", "price": 1}}]))
    outcome = desk.ingest(**{**GIVEN, "source__explode": None, "source__columns": {**COLUMNS, "price": "items.price"}})
    assert outcome.reasons()[1] == outcome.reasons()[3] == ["not_scalar"]
    assert outcome.events["item_id"].to_pylist() == ["Z"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_of_ids_and_a_list_inside_an_object(desk: Desk, kind: str) -> None:
    rows = [{"t": "2026-01-05", "u": "u1", "cart": {"skus": ["A", "B"]}}, {"t": "2026-01-06", "u": "u1", "cart": None}]
    desk.put(f"a.{kind}", written(kind, rows))  # type: ignore[arg-type]
    outcome = desk.ingest(
        source__columns={"event_time": "t", "user_id": "u", "item_id": "cart.skus"},
        source__explode="cart.skus",
        source__event_types={"*": "view"},
    )
    assert outcome.events["item_id"].to_pylist() == ["A", "B"]
    assert outcome.reasons() == {2: ["null_item"]}


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize("packed", [False, True])
def test_a_json_array_is_read_as_its_lines_are(desk: Desk, indent: int | None, packed: bool) -> None:
    rows = [{**GA4[0], "note": ']},{[ "x\\\\'}, *GA4[1:], 5]
    desk.put("a.jsonl", b"".join(json.dumps(each).encode() + b"\n" for each in rows))
    lines = desk.ingest(**GIVEN)
    (desk.log / "a.jsonl").unlink()
    text = b"\xef\xbb\xbf \n" + json.dumps(rows, indent=indent).encode() + b"\n"
    desk.put("a.json.gz" if packed else "a.json", gzip.compress(text) if packed else text)
    array = desk.ingest(**GIVEN)
    assert array.events.equals(lines.events)
    assert array.reasons() == lines.reasons() == {4: ["unknown_type"], 5: ["bad_json"]}
    more = {**GIVEN, "source__event_types": {"page_view": "impression", "session_start": "click"}}
    assert replay(desk.params(**more), desk.paths)["taken_in"] == 1


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=6) | st.integers() | st.none()), max_size=8),
    indent=st.sampled_from([None, 0, 2]),
    size=st.integers(1, 40),
    ascii_only=st.booleans(),
)
def test_elements_are_whole_wherever_the_blocks_are_cut(
    rows: list[dict[str, Any]], indent: int | None, size: int, ascii_only: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode())
        parsed, at = [], 1
        for block in JsonLines(path, {}, "", array=True).blocks(size):
            assert block.line == at
            parsed += [json.loads(line) for line in block.data.split(b"\n")[:-1]]
            at = block.stop
    assert parsed == rows and at == len(rows) + 1


@pytest.mark.parametrize("text", ['[{"a":1},{"a":', '[{"a":1}', '[{"a":1}] x', '[{"a":1}, {"a":"\n"}]'])
def test_a_json_array_that_is_no_json_stops_the_run(desk: Desk, text: str) -> None:
    first = '{"event_time":"2026-01-05","event_type":"view","user_id":"u","item_id":"i"},'
    desk.put("a.json", text.replace("[", f"[{first}", 1).encode())
    with pytest.raises(DataError, match="JSON array cannot be read from element"):
        desk.ingest()


def test_keys_and_values_of_a_map(desk: Desk) -> None:
    table = pa.table(
        {
            "event_time": ["2026-01-05", "2026-01-06"],
            "event_type": ["view", "view"],
            "user_id": ["u", "u"],
            "params": pa.array([[("sku", "A"), ("x", "1")], [("x", "2")]], pa.map_(pa.string(), pa.string())),
        }
    )
    out = io.BytesIO()
    pq.write_table(table, out)
    desk.put("a.parquet", out.getvalue())
    outcome = desk.ingest(source__columns={"item_id": "params[sku]"})
    assert outcome.events["item_id"].to_pylist() == ["A"]
    assert outcome.reasons() == {2: ["null_item"]}


def test_more_elements_than_can_be_numbered_are_one_bad_row(desk: Desk) -> None:
    row = b'{"event_time":"2026-01-05","event_type":"view","user_id":"u","item_id":"i","list":['
    desk.put("a.jsonl", row + b"2]}\n" + row + b"1," * (1 << 20) + b"1]}\n")
    outcome = desk.ingest(source__explode="list")
    assert outcome.reasons() == {2: ["bad_json"]}
    assert (outcome.card["read"], outcome.card["accepted"]) == (2, 1)


def test_a_column_that_is_not_there_is_named(desk: Desk) -> None:
    desk.put("a.parquet", written("parquet", GA4))
    with pytest.raises(DataError, match=r"user_id: 'user\.id'") as caught:
        desk.ingest(**{**GIVEN, "source__columns": {**COLUMNS, "user_id": "user.id", "session_id": "nope"}})
    assert "'user.pseudo.id'" in str(caught.value)
