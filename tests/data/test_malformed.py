"""A malformed file is read, its bad rows in quarantine, or refused in words; never a traceback, a hang or a lost row.

`benchmarks/fuzz.py` asks the same of ten thousand files; here are a few by chance, and those that once failed.
"""

import gzip
import json
import os
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_setup import HEADER, Desk, rows

from clickflow.events import jsonlines, storage
from clickflow.system.errors import DataError, UsageError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import fuzz
from malformed import FORMATS

EVENT = {"event_time": "2026-01-05T10:00:00", "event_type": "view", "user_id": "u1", "item_id": "i1"}
LINE = json.dumps(EVENT).encode() + b"\n"


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    return Desk(tmp_path / "w", raw_params)


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(100_000, 10**9))
def test_any_malformed_file_is_read_or_refused(tmp_path: Path, kind: str, seed: int) -> None:
    line = fuzz.attempt(kind, seed, tmp_path / "w")
    assert line["outcome"] in ("read", "refused"), line


def test_json_that_is_nested_without_end_costs_its_line(desk: Desk) -> None:
    deep = [b'{"item_id":' + b"[" * levels + b"]" * levels + b"}\n" for levels in (150, 300, 900, 100_000)]
    desk.put("a.jsonl", LINE + b"".join(deep))
    outcome = desk.ingest()
    assert outcome.card["accepted"] == 1
    assert outcome.reasons()[3] == outcome.reasons()[5] == ["bad_json"]


def test_an_error_is_no_longer_than_a_page_however_long_the_names_are(desk: Desk) -> None:
    desk.put("a.csv", b"\t".join([b"\xef\xbb\xbf" * 5000] * 20) + b"\n")
    with pytest.raises(DataError) as caught:
        desk.ingest()
    assert len(str(caught.value)) < 5000
    desk.put("a.csv", b"")
    desk.put("b.jsonl", b'{"' + b"x" * 70_000 + b'":1}\n')
    with pytest.raises(DataError) as caught:
        desk.ingest(source__explode="items")
    assert len(str(caught.value)) < 5000


def test_only_what_is_nested_deeper_than_the_writer_goes_is_too_deep() -> None:
    many = orjson.dumps({"events": [{"a": 1}] * 500})
    assert not jsonlines.too_deep(many, orjson.loads(many))


@pytest.mark.parametrize(
    ("broken", "raw"),
    [
        (b'{"a": nan}', b'{"a": nan}'),
        (b"{a: 1}", b"{a: 1}"),
        (b'{"a": 1,}', b'{"a": 1,}'),
        (b'{"a": "x}', b'{"a": "x}'),
        (b'{"a": [1}', b'{"a": [1}'),
        (b'{"a": {"b": 1}', b'{"a": {"b": 1}'),
        (b"nonsense", b"nonsense"),
    ],
)
@pytest.mark.parametrize("size", [7, 1 << 20])
def test_an_element_that_is_no_json_costs_itself_alone(tmp_path: Path, broken: bytes, raw: bytes, size: int) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"[\n  " + b",\n  ".join([b'{"a": 1}', broken, b'{"a": 2}']) + b"\n]")
    reader = jsonlines.JsonLines(path, {"a": "a"}, "", array=True)
    values, refused = [], []
    for block in reader.blocks(size):
        parsed = reader.parse(block)
        values += parsed.table["a"].to_pylist()
        refused += parsed.refused.raws
    assert values == ["1", "2"]
    assert refused == [raw.decode()]


def test_an_array_whose_elements_cannot_be_told_apart_is_refused(desk: Desk) -> None:
    desk.put("a.json", b"[" + LINE.strip() + b', {"a": "x}, ' + LINE.strip() + b"]")
    with pytest.raises(DataError, match="from element 2 on"):
        desk.ingest()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"," * 2_000_000, "its first line does not end within 1 MB"),
        (b"," * 400_000 + b"\n" + b"," * 400_000, "over 10,000 columns"),
        (gzip.compress(b"," * 100_000_000), "its first line does not end within 1 MB"),
    ],
)
def test_a_header_without_end_is_refused_at_once(desk: Desk, data: bytes, says: str) -> None:
    desk.put("a.csv.gz" if data[:1] == b"\x1f" else "a.csv", data)
    started = time.process_time()
    with pytest.raises(DataError, match=says):
        desk.ingest()
    assert time.process_time() - started < 20


def test_a_packed_file_that_never_ends_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MOST_UNPACKED", 1 << 20)
    desk.put("a.csv.gz", gzip.compress(HEADER + b"\n" * (64 << 20)))
    with pytest.raises(DataError, match=r"a\.csv\.gz unpacks to over 500 times its size"):
        desk.ingest()


def test_a_list_of_more_events_than_a_line_can_number_costs_its_line(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonlines, "MOST", 50)
    event = {"aid": 1, "ts": 1_767_600_000_000, "type": "clicks"}
    lines = [json.dumps({"session": 1, "events": [{**event, "aid": n} for n in range(count)]}) for count in (50, 51)]
    desk.put("a.jsonl", "\n".join(lines).encode())
    outcome = desk.ingest(source__preset="otto")
    assert (outcome.card["accepted"], outcome.reasons()) == (50, {2: ["bad_json"]})


@pytest.mark.parametrize(
    ("path", "says"), [("pipe", "is a pipe"), ("/dev/zero", "is a pipe"), ("~nobody-here", "a user")]
)
def test_a_source_that_is_no_file_is_refused(desk: Desk, path: str, says: str) -> None:
    os.mkfifo(desk.paths.root / "pipe")
    with pytest.raises(UsageError, match=says):
        desk.ingest(source__path=path)


def test_blank_lines_by_the_million_are_counted_in_one_look(desk: Desk) -> None:
    desk.put(
        "a.csv", rows(2).join([b"event_time,event_type,user_id,session_id,item_id,a,b,c,d,e\n", b"\n" * 1_500_000])
    )
    started = time.process_time()
    outcome = desk.ingest()
    assert (outcome.card["read"], outcome.card["accepted"]) == (2, 2)
    assert outcome.card["sources"][0]["blank_lines"] == 1_500_000
    assert time.process_time() - started < 10


def table(**columns: pa.Array) -> pa.Table:
    plain = {name: pa.array([value] * 3) for name, value in EVENT.items()}
    return pa.table({**plain, "item_id": pa.array(["a", "b", "c"])} | columns)


def test_values_that_no_calendar_has_are_in_quarantine_as_they_stand(desk: Desk) -> None:
    beyond = pa.array([1_767_600_000_000_000, 253_402_300_800_000_000, -(2**62)], pa.int64())
    odd = table(
        event_time=beyond.view(pa.timestamp("us")),
        price=beyond.view(pa.timestamp("us")),
        zoned=beyond.view(pa.timestamp("us", "UTC")),
        nano=pa.array([1, 2, 3], pa.int64()).view(pa.timestamp("ns")),
        inner=pa.StructArray.from_arrays([beyond.view(pa.timestamp("us"))], ["at"]),
        lists=pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), beyond.view(pa.timestamp("us"))),
        day=pa.array([2**31 - 1] * 3, pa.int32()).view(pa.date32()),
        span=beyond.view(pa.duration("us")),
        bytes=pa.array([b"\xff", b"a", b"b"], pa.binary()),
    )
    pq.write_table(odd, desk.log / "a.parquet")
    outcome = desk.ingest()
    assert (outcome.card["read"], outcome.card["accepted"]) == (3, 1)
    assert set(outcome.reasons()) == {2, 3}
    raw = json.loads(outcome.raw()[2])
    assert list(raw) == odd.schema.names
    assert raw["day"] == "2147483647 date32[day]"
    assert raw["inner"] == {"at": "253402300800000000 timestamp[us]"}


@pytest.mark.parametrize("kind", ["plain", "large", "dictionary"])
def test_text_that_is_no_utf_8_in_parquet_strings_costs_its_rows(desk: Desk, kind: str) -> None:
    parts = [b"caf\xe9", b"b", b"c"]
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int64 if kind == "large" else np.int32)
    array = pa.LargeStringArray if kind == "large" else pa.StringArray
    text = array.from_buffers(3, pa.py_buffer(ends), pa.py_buffer(b"".join(parts)))
    text = text.dictionary_encode() if kind == "dictionary" else text
    pq.write_table(table(item_id=text), desk.log / "a.parquet")
    outcome = desk.ingest()
    assert (outcome.card["accepted"], outcome.reasons()) == (2, {1: ["broken_encoding"]})


def test_uuids_are_ids(desk: Desk) -> None:
    ids = [uuid.UUID(int=number) for number in range(1, 4)]  # zero is nobody's
    column = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([each.bytes for each in ids], pa.binary(16)))
    pq.write_table(table(item_id=column), desk.log / "a.parquet")
    assert desk.ingest().events["item_id"].to_pylist() == [str(each) for each in ids]


def test_a_column_name_twice_in_parquet_is_refused(desk: Desk) -> None:
    odd = table()
    pq.write_table(odd.append_column("item_id", odd["item_id"]), desk.log / "a.parquet")
    with pytest.raises(DataError, match="has two columns called 'item_id'"):
        desk.ingest()
