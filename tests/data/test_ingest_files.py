"""Ingest as a whole: the same bytes again, new files appended, killed runs, and sources that cannot be used."""

import gzip
import io
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_setup import HEADER, Desk, row, rows

from clickflow.events import days, staging
from clickflow.events.commit import JOURNAL, scratch_of
from clickflow.system import files
from clickflow.system.errors import EXIT_DATA, EXIT_USAGE, ClickflowError
from clickflow.system.paths import Paths


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    return Desk(tmp_path / "w", raw_params)


MIXED = rows(200) + row(kind="nothing") + rows(50) + rows(300, first=100, day=6) + b"cut,off"


def test_twice_the_same_bytes_and_any_amount_of_memory(desk: Desk) -> None:
    desk.put("a.csv", HEADER + MIXED)
    desk.ingest()
    first = desk.bytes()
    assert {"data/events/_manifest.json", "data/truth/card.json", "reports/ingest.json"} < first.keys()
    shutil.rmtree(desk.paths.events)
    desk.ingest(ingest__memory_gb=0.3)
    assert desk.bytes() == first
    desk.ingest()
    assert desk.bytes() == first


def test_the_events_do_not_depend_on_the_order_of_the_rows(desk: Desk) -> None:
    lines = (rows(400) + rows(200, day=6)).splitlines(keepends=True)
    desk.put("a.csv", HEADER + b"".join(lines))
    desk.ingest()
    first = {name: value for name, value in desk.bytes().items() if name.endswith("events.parquet")}
    random.Random(1).shuffle(lines)
    desk.put("a.csv", HEADER + b"".join(lines[:100]))
    desk.put("b.csv.gz", gzip.compress(HEADER + b"".join(lines[100:])))
    desk.ingest()
    assert {name: value for name, value in desk.bytes().items() if name.endswith("events.parquet")} == first
    assert len(first) == 2


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(1, 3000),
    limit=st.integers(10, 4000),
    spread=st.sampled_from([1, 50, 10**9]),
)
def test_a_day_has_the_same_bytes_in_slices_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, limit: int, spread: int
) -> None:
    random_ = np.random.default_rng(seed)
    table = staging.STAGED.empty_table()
    columns = {name: pa.nulls(count, field.type) for name, field in zip(table.schema.names, table.schema, strict=True)}
    columns |= {
        "event_time": pa.array(random_.integers(0, spread, count)).cast(pa.timestamp("us", tz="UTC")),
        "item_id": pa.array(random_.integers(0, 5, count).astype(str)),
        "source": pa.array(np.zeros(count, np.int32)),
        "position": pa.array(np.arange(count)),
    }
    staged = pa.table(columns, schema=staging.STAGED)
    folder = tmp_path_factory.mktemp("day")
    whole = days.write_day(staged, folder / "a.parquet", 10**9)
    parts = days.write_day(staged.take(pa.array(random_.permutation(count))), folder / "b.parquet", limit)
    assert (folder / "a.parquet").read_bytes() == (folder / "b.parquet").read_bytes()
    assert sorted(whole.position.tolist()) == sorted(parts.position.tolist())
    assert whole.rows + len(whole.position) == count
    assert pq.read_metadata(folder / "a.parquet").num_rows == whole.rows


NEW = {
    "same day": HEADER + rows(100, first=150) + row(kind="bad") + rows(3),
    "new day": HEADER + rows(10, day=9),
    "nothing good": HEADER + row(kind="bad"),
    "no rows": HEADER,
}


@pytest.mark.parametrize("new", NEW)
def test_what_is_appended_equals_a_rebuild(desk: Desk, new: str, capsys: pytest.CaptureFixture[str]) -> None:
    desk.put("2026-01.csv", HEADER + MIXED)
    desk.ingest()
    untouched = (desk.paths.events / "day=2026-01-06/events.parquet").stat().st_ino
    desk.put("2026-02.csv", NEW[new])
    desk.ingest()
    appended = desk.bytes()
    assert "1 of 2 files were taken in before; 1 to read" in capsys.readouterr().err
    assert (desk.paths.events / "day=2026-01-06/events.parquet").stat().st_ino == untouched
    shutil.rmtree(desk.paths.events)
    desk.ingest()
    assert desk.bytes() == appended


CHANGES: dict[str, Callable[[Desk], object]] = {
    "a file changed": lambda desk: desk.put("b.csv", HEADER + rows(7, first=3)),
    "a file is gone": lambda desk: desk.log.joinpath("b.csv").unlink(),
    "a file comes first": lambda desk: desk.put("a0.csv", HEADER + rows(20, first=10)),
    "a day was deleted": lambda desk: desk.paths.events.joinpath("day=2026-01-05/events.parquet").unlink(),
    "quarantine was deleted": lambda desk: desk.paths.quarantine.joinpath("quarantine.parquet").unlink(),
    "the manifest was deleted": lambda desk: desk.paths.events.joinpath("_manifest.json").unlink(),
    "nothing": lambda desk: None,
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changed_the_result_is_that_of_a_rebuild(desk: Desk, change: str) -> None:
    desk.put("a.csv", HEADER + rows(30))
    desk.put("b.csv", HEADER + rows(30, first=20) + b"bad")
    desk.ingest()
    CHANGES[change](desk)
    desk.ingest()
    before = desk.bytes()
    shutil.rmtree(desk.paths.root / "data")
    desk.ingest()
    assert desk.bytes() == before


@pytest.mark.parametrize(
    "params",
    [{"source__timezone": "Europe/Berlin"}, {"ingest__max_text_length": 4}, {"source__as_of": "2026-01-05T00:00:30"}],
)
def test_other_params_read_everything_again(desk: Desk, params: dict[str, object]) -> None:
    desk.put("a.csv", HEADER + rows(60) + row(brand="brand") + row(time="2027-01-01"))
    desk.ingest()
    desk.ingest(**params)
    before = desk.bytes()
    shutil.rmtree(desk.paths.root / "data")
    desk.ingest(**params)
    assert desk.bytes() == before


def test_looser_params_let_rows_in_without_reading_again(desk: Desk) -> None:
    desk.put("a.csv", HEADER + rows(60) + row(time="2027-01-01"))
    desk.ingest()
    desk.put("b.csv", HEADER + rows(5, day=7))
    outcome = desk.ingest(source__as_of="2027-06-01T00:00:00")
    assert outcome.card["quarantined"] == 0
    before = desk.bytes()
    shutil.rmtree(desk.paths.root / "data")
    desk.ingest(source__as_of="2027-06-01T00:00:00")
    assert desk.bytes() == before


def test_an_error_half_way_leaves_the_outputs_as_they_were(desk: Desk) -> None:
    desk.put("a.csv", HEADER + rows(50))
    desk.ingest()
    before = desk.bytes()
    desk.put("b.csv.gz", gzip.compress(HEADER + bytes(random.Random(0).randbytes(100_000)))[:-5000])
    with pytest.raises(ClickflowError, match=r"b\.csv\.gz: the gzip stream cannot be read to its end"):
        desk.ingest()
    assert desk.bytes() == before


def test_a_crash_between_two_outputs_is_made_good_by_the_next_run(desk: Desk) -> None:
    desk.put("a.csv", HEADER + rows(50))
    desk.ingest()
    old = {name: value for name, value in desk.bytes().items() if name.startswith("data/events")}
    saved = desk.paths.root / "saved"
    shutil.copytree(desk.paths.events, saved)
    desk.put("b.csv", HEADER + rows(50, day=8) + b"bad")
    desk.ingest()
    new = desk.bytes()
    # as if it had been killed after quarantine, truth and card were in place, and before the events were
    work = scratch_of(desk.paths)
    work.mkdir()
    desk.paths.events.rename(work / "events")
    saved.rename(desk.paths.events)
    assert {name: value for name, value in desk.bytes().items() if name.startswith("data/events/")} == old
    outputs = {"quarantine": "data/quarantine", "truth": "data/truth", "ingest.json": "reports/ingest.json"}
    files.write_json(work / JOURNAL, {**outputs, "events": "data/events"})
    desk.ingest()
    assert desk.bytes() == new


@pytest.mark.slow
def test_killed_at_any_moment_the_outputs_are_the_old_or_the_new(desk: Desk, root: Path) -> None:
    desk.put("a.csv", HEADER + rows(2000))
    raw = yaml.safe_load((root / "tests/assets/params_long.yaml").read_text())
    raw["source"] |= {"kind": "files", "path": "log", "as_of": "2026-06-01T00:00:00"}
    (desk.paths.root / "params.yaml").write_text(yaml.safe_dump(raw))
    (desk.paths.root / "dvc.yaml").write_text("stages: {}\n")
    desk.ingest()
    old = desk.bytes()
    saved = desk.paths.root.with_name("saved")
    shutil.copytree(desk.paths.root, saved)
    desk.put("b.csv", HEADER + rows(3000, first=1000))
    desk.ingest()
    new = desk.bytes()
    (saved / "log/b.csv").write_bytes((desk.log / "b.csv").read_bytes())
    work = saved.with_name("killed")
    work.mkdir()
    words = [sys.executable, str(Path(__file__).with_name("killed_ingest.py")), str(saved), str(work), "8"]
    subprocess.run(words, check=True)
    left = sorted(work.iterdir())
    assert len(left) == 9
    for folder in left:
        desk.paths, desk.log = Paths(folder), folder / "log"
        scratch = scratch_of(desk.paths)
        if not (scratch / JOURNAL).exists():
            shutil.rmtree(scratch, ignore_errors=True)
            assert desk.bytes() in (old, new)
        desk.ingest()
        assert desk.bytes() == new


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), out)
    return out.getvalue()


Fault = tuple[dict[str, bytes], dict[str, object], str, int]
FAULTS: dict[str, Fault] = {
    "missing": (
        {},
        {"source__path": "nowhere"},
        r"there is no file or folder .*nowhere",
        EXIT_USAGE,
    ),
    "no match": (
        {"a.csv": b"x"},
        {"source__pattern": "*.tsv"},
        r"no file in .*log matches '\*\.tsv'",
        EXIT_USAGE,
    ),
    "empty": (
        {"a.csv": b""},
        {},
        r"a\.csv is empty",
        EXIT_DATA,
    ),
    "empty gzip": (
        {"a.csv.gz": gzip.compress(b"")},
        {},
        r"a\.csv\.gz is empty inside its gzip",
        EXIT_DATA,
    ),
    "header only": (
        {"a.csv": HEADER},
        {},
        r"a\.csv: there is no row",
        EXIT_DATA,
    ),
    "delimiter": (
        {"a.csv": (HEADER + row()).replace(b",", b";")},
        {},
        r"a\.csv: its columns are separated by ';', not by ','",
        EXIT_DATA,
    ),
    "column": (
        {"a.csv": b"when,event_type,user_id\n1,2,3\n"},
        {"source__columns": {"event_time": "wen"}},
        r"a\.csv lacks event_time: 'wen'. It has: 'when', 'event_type', 'user_id'. Close to it: when",
        EXIT_DATA,
    ),
    "no time": (
        {"a.csv": b"event_type,user_id\n1,2\n"},
        {},
        r"lacks event_time \(name it in source.columns.event_time\)",
        EXIT_DATA,
    ),
    "nobody": (
        {"a.csv": b"event_type,event_time\n1,2\n"},
        {},
        r"lacks user_id or session_id",
        EXIT_DATA,
    ),
    "no type": (
        {"a.csv": b"user_id,event_time\n1,2\n"},
        {},
        r"lacks event_type .*\"\*\": view",
        EXIT_DATA,
    ),
    "doubled": (
        {"a.csv": b"user_id,t,t\n1,2,3\n"},
        {"source__columns": {"event_time": "t"}},
        r"has two columns called 't'",
        EXIT_DATA,
    ),
    "preset": (
        {"a.csv": HEADER + row()},
        {"source__preset": "rees46"},
        r"lacks .*'product_id'",
        EXIT_DATA,
    ),
    "no header": (
        {"a.csv": b"a;b;c;d;e\n"},
        {"source__preset": "taobao"},
        r"none of its first 1 rows has the 5 columns",
        EXIT_DATA,
    ),
    "json": (
        {"a.jsonl": HEADER},
        {},
        r"none of its first lines is a JSON object",
        EXIT_DATA,
    ),
    "not nested": (
        {"a.jsonl": b'{"session":1}\n'},
        {"source__preset": "otto"},
        r"with a list of events in 'events'; there is: session",
        EXIT_DATA,
    ),
    "json column": (
        {"a.jsonl": b'{"user_id":1,"event_type":"view"}\n'},
        {},
        r"lacks event_time",
        EXIT_DATA,
    ),
    "unknown format": (
        {"a.log": HEADER + row()},
        {},
        r"a\.log: its name does not tell its format",
        EXIT_DATA,
    ),
    "not parquet": (
        {"a.parquet": b"PAR1 no"},
        {},
        r"a\.parquet: cannot be read as Parquet",
        EXIT_DATA,
    ),
    "parquet as csv": (
        {"a.csv": parquet()},
        {},
        r"a\.csv is not text but Parquet",
        EXIT_DATA,
    ),
    "parquet column": (
        {"a.parquet": parquet()},
        {},
        r"a\.parquet lacks event_time .*It has: 'a'",
        EXIT_DATA,
    ),
    "utf-16": (
        {"a.csv": HEADER.decode().encode("utf-16")},
        {},
        r"a\.csv is UTF-16",
        EXIT_DATA,
    ),
    "cut gzip": (
        {"a.csv.gz": gzip.compress(HEADER + rows(5000))[:-400]},
        {},
        r"a\.csv\.gz: the gzip stream cannot be read",
        EXIT_DATA,
    ),
    "broken gzip": (
        {"a.csv.gz": b"\x1f\x8bnonsense of some length"},
        {},
        r"a\.csv\.gz: the gzip stream cannot be read",
        EXIT_DATA,
    ),
    "two files": (
        {"a.csv": b"", "b.csv": b""},
        {},
        r"2 of 2 files cannot be used:\n  .*a\.csv is empty\n  .*b\.csv is empty",
        EXIT_DATA,
    ),
    "nothing good": (
        {"a.csv": HEADER + row(time="5.1.2026") + row(kind="x")},
        {"source__time_format": "ms"},
        r"none of 2 rows is good: unparseable_time 2, unknown_type 1; such as line 2\b",
        EXIT_DATA,
    ),
    "canonical column": (
        {"a.csv": HEADER + row()},
        {"source__columns": {"itemid": "x"}},
        r"source.columns: 'itemid' is no canonical column; did you mean 'item_id'",
        EXIT_USAGE,
    ),
    "canonical type": (
        {"a.csv": HEADER + row()},
        {"source__event_types": {"x": "favorite"}},
        r"source.event_types: 'favorite' is no .*did you mean 'favourite'",
        EXIT_USAGE,
    ),
    "time zone": (
        {"a.csv": HEADER + row()},
        {"source__timezone": "Mars/Base"},
        r"'Mars/Base' is not a time zone",
        EXIT_USAGE,
    ),
    "time format": (
        {"a.csv": HEADER + row()},
        {"source__time_format": "seconds"},
        r"'seconds' is neither s, ms, us",
        EXIT_USAGE,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_source_that_cannot_be_used_is_one_clear_error(desk: Desk, fault: str) -> None:
    given_files, params, message, code = FAULTS[fault]
    desk.put("good.csv", HEADER + rows(5))
    desk.ingest()
    before = desk.bytes()
    desk.log.joinpath("good.csv").unlink()
    for name, data in given_files.items():
        desk.put(name, data)
    with pytest.raises(ClickflowError, match=message) as error:
        desk.ingest(**params)
    assert error.value.exit_code == code
    assert error.value.kept
    assert error.value.next_step
    assert desk.bytes() == before


def test_files_are_found_by_pattern_in_the_order_of_their_names(desk: Desk) -> None:
    desk.put("2026/b.csv", HEADER + rows(3))
    desk.put("2026/a.csv.gz", gzip.compress(HEADER + rows(3, first=3)))
    desk.put("2025/z.ndjson", b'{"event_time":"2026-01-01","event_type":"view","user_id":1,"item_id":2}\n')
    for ignored in ("README.md", "b.csv.dvc", ".hidden.csv", ".folder/x.csv"):
        desk.put(ignored, b"not a log")
    card = desk.ingest().card
    assert [source["source"] for source in card["sources"]] == ["2025/z.ndjson", "2026/a.csv.gz", "2026/b.csv"]
    assert desk.ingest(source__pattern="2026/*.csv").card["read"] == 3
    assert desk.ingest(source__path=str(desk.log / "2026/b.csv")).card["sources"][0]["source"] == "b.csv"


def test_presets_with_several_layouts(desk: Desk) -> None:
    desk.put("yoochoose-clicks.dat", b"1,2014-04-07T10:51:09.277Z,214536502,0\n")
    desk.put("yoochoose-buys.dat", b"1,2014-04-07T11:00:00.000Z,214536502,1046,2\n")
    events = desk.ingest(source__preset="yoochoose").events.to_pylist()
    assert [(e["event_type"], e["price"], e["quantity"], e["category"]) for e in events] == [
        ("view", None, None, "0"),
        ("purchase", 1046.0, 2, None),
    ]


def test_retailrocket_events(desk: Desk) -> None:
    desk.put(
        "events.csv",
        b"timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,\n1433221332118,2,transaction,9,7\n",
    )
    events = desk.ingest(source__preset="retailrocket").events.to_pylist()
    assert [(e["event_type"], e["item_id"], e["session_id"]) for e in events] == [
        ("view", "355908", None),
        ("purchase", "9", None),
    ]


def test_params_go_before_the_preset(desk: Desk) -> None:
    desk.put("log.txt", b"SessionId|ItemId|When|Kind\n1|2|2026-01-05 10:00|order\n")
    events = desk.ingest(
        source__preset="session_tsv", source__delimiter="|", source__time_format="%Y-%m-%d %H:%M",
        source__columns={"event_time": "When", "event_type": "Kind"}, source__event_types={"order": "purchase"},
    ).events.to_pylist()  # fmt: skip
    assert (events[0]["event_type"], events[0]["event_time"].hour) == ("purchase", 10)
