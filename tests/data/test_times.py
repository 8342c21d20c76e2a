"""Local times where clocks are put forward and back, and times that were read in a wrong unit."""

import datetime
import io
import zoneinfo
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_setup import HEADER, Desk, row

from clickflow.events import clocks, times
from clickflow.system.errors import DataError

DUCK = duckdb.connect()
ZONES = ["Europe/Berlin", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kolkata"]


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    return Desk(tmp_path / "w", raw_params)


@settings(max_examples=300, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    change=st.integers(0, 500),
    seconds=st.integers(-9000, 9000),
    shape=st.sampled_from(["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M:%S"]),
    offset=st.sampled_from(["", "", "Z", "+03:00"]),
)
def test_a_local_time_is_placed_as_its_zone_says(zone: str, change: int, seconds: int, shape: str, offset: str) -> None:
    at = clocks.changes(zone)[0]
    middle = int(at[change % len(at)]) // 1_000_000 % 2**31 + seconds
    naive = datetime.datetime.fromisoformat("1970-01-01") + datetime.timedelta(seconds=abs(middle))
    text, pattern = naive.strftime(shape), None
    if shape.startswith("%d"):
        pattern, offset = shape, ""
    micros, known, clock = times.parse(pa.array([text + offset]), pattern, zone, DUCK)
    assert known[0]
    naive = naive.replace(second=naive.second if "%S" in shape else 0)
    if offset:
        expected = datetime.datetime.fromisoformat(f"{naive.isoformat()}{offset}").timestamp()
        assert (micros[0] / 1e6, clock[0]) == (expected, 0)
        return
    first, second = (naive.replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=fold).timestamp() for fold in (0, 1))
    assert clock[0] == (0 if first == second else clocks.TWICE if first < second else clocks.NEVER)
    if clock[0] != clocks.NEVER:
        assert micros[0] / 1e6 == first


def test_hours_that_are_there_twice_or_never_are_quarantined(desk: Desk) -> None:
    spring, autumn = "2026-03-29 02:30:00", "2025-10-26 02:30:00"
    local = [spring, autumn, "2025-10-26 03:00:00", "2026-03-29 01:59:59", f"{autumn}+02:00", "2025-10-26T00:30:00Z"]
    desk.put("a.csv", HEADER + b"".join(row(time, item=f"i{at}") for at, time in enumerate(local)))
    out = io.BytesIO()
    naive = [datetime.datetime.fromisoformat(text) for text in local[:4]]
    names = ["view"] * 4
    pq.write_table(pa.table({"event_time": naive, "event_type": names, "user_id": names, "item_id": names}), out)
    desk.put("b.parquet", out.getvalue())
    outcome = desk.ingest(source__timezone="Europe/Berlin")
    expected = [["nonexistent_time"], ["ambiguous_time"]]
    assert [entry["reasons"] for entry in outcome.quarantine] == expected * 2
    assert outcome.card["accepted"] == 6
    assert desk.ingest().card["quarantined"] == 0


@pytest.mark.parametrize(
    ("form", "number", "unit"),
    [("ms", 1767607200, "s"), ("us", 1767607200, "s"), ("us", 1767607200123, "ms"), ("%d/%m/%Y", "01/01/1971", None)],
)
def test_times_in_a_wrong_unit_stop_the_run(desk: Desk, form: str, number: Any, unit: str | None) -> None:
    desk.put("a.csv", HEADER + b"".join(row(str(number), item=f"i{at}") for at in range(3)))
    with pytest.raises(DataError, match="3 of its 3 good rows are before 1990, such as in 197") as caught:
        desk.ingest(source__time_format=form)
    assert (f"as {unit} they would be of our days" in str(caught.value)) is (unit is not None)
    if unit:
        assert desk.ingest(source__time_format=unit).card["accepted"] == 3


def test_two_units_in_one_file_stop_the_run_and_one_stray_time_does_not(desk: Desk) -> None:
    def log(stray: int) -> bytes:
        numbers = [1767607200 + at if at < stray else (1767607200 + at) * 1000 for at in range(300)]
        return HEADER + b"".join(row(str(number), item=f"i{at}") for at, number in enumerate(numbers))

    desk.put("a.csv", log(100))
    with pytest.raises(DataError, match=r"100 of its 300 good rows are before 1990.*as s they would be") as caught:
        desk.ingest(source__time_format="ms")
    assert "in one unit" in str(caught.value)
    desk.put("a.csv", log(1))
    assert desk.ingest(source__time_format="ms").card["accepted"] == 300


def test_a_few_early_times_stop_nothing(desk: Desk) -> None:
    desk.put("a.csv", HEADER + row("1971-01-01") + row() + row(item="b"))
    assert desk.ingest().card["accepted"] == 3


@pytest.mark.parametrize("name", ["price", "note"])
def test_a_doubled_column_is_an_error(desk: Desk, name: str) -> None:
    header = f"event_time,event_type,user_id,item_id,{name},{name},,\n".encode()
    desk.put("a.csv", header + b"2026-01-05,view,u,i,1,2,,\n")
    with pytest.raises(DataError, match=f"two columns called '{name}'"):
        desk.ingest()


def test_exact_repeats_may_be_quantity(desk: Desk) -> None:
    desk.put("a.csv", HEADER + row() * 3 + row(item="j"))
    desk.put("b.csv", HEADER + row())
    assert desk.ingest().card["reasons"] == {"duplicate": 3}
    kept = desk.ingest(ingest__duplicates="keep")
    assert (kept.card["accepted"], kept.card["quarantined"]) == (5, 0)
    assert kept.events["item_id"].to_pylist() == ["i1", "i1", "i1", "j", "i1"]
    desk.put("c.csv", HEADER + row())
    appended = desk.ingest(ingest__duplicates="keep").card["accepted"], desk.bytes()
    desk.put("0.csv", HEADER + row(item="first"))
    desk.ingest(ingest__duplicates="keep")
    (desk.log / "0.csv").unlink()
    assert (desk.ingest(ingest__duplicates="keep").card["accepted"], desk.bytes()) == appended


@pytest.mark.parametrize("pattern", [None, "%Y-%m-%d %H:%M:%S %Z"])
def test_letters_that_are_several_zones_are_no_time_and_others_are(pattern: str | None) -> None:
    """BST is Bangladesh's to DuckDB: a British log would be seven hours off all summer."""
    zones = ["BST", "IST", "CST", "ist", "AST", "UTC", "GMT", "EST", "JST", "+01:00"]
    text = [f"2026-07-05 10:00:00 {zone}" for zone in zones[: None if pattern is None else -1]]
    _, known, clock = times.parse(pa.array(text), pattern, "UTC", DUCK)
    assert known.all()
    assert (
        clock.tolist()
        == [clocks.TWICE if zone.upper() in {"BST", "IST", "CST", "AST"} else 0 for zone in zones][: len(text)]
    )


@pytest.mark.parametrize("pattern", [None, "%Y-%m-%d %H:%M:%S %Z", "%a %b %d %H:%M:%S %Z %Y"])
def test_a_zone_named_in_a_time_has_hours_twice_and_never_too(pattern: str | None) -> None:
    """CET and PST in summer are winter's time to some, and the place's to others: an hour apart."""
    text = {
        "2026-10-25 02:30:00 Europe/Berlin": clocks.TWICE,
        "2026-10-25 03:30:00 Europe/Berlin": 0,
        "2026-03-29 02:30:00 Europe/Berlin": clocks.NEVER,
        "2026-11-01 01:30:00 US/Eastern": clocks.TWICE,
        "2026-07-05 10:00:00 America/New_York": 0,
        "2026-04-05 01:45:00 Australia/Lord_Howe": clocks.TWICE,
        "2026-07-05 10:00:00 CET": clocks.TWICE,
        "2026-01-05 10:00:00 CET": 0,
        "2026-07-05 10:00:00 PST": clocks.TWICE,
        "2026-01-05 10:00:00 PST": 0,
        "2026-01-05 10:00:00 BST": clocks.TWICE,
        "2026-07-05 10:00:00 UTC": 0,
    }
    written = list(text)
    if pattern and pattern.startswith("%a"):
        moments = [datetime.datetime.fromisoformat(each[:19]) for each in written]
        written = [f"{m:%a %b %d %H:%M:%S} {t[20:]} {m:%Y}" for m, t in zip(moments, written, strict=True)]
    for zone in ("UTC", "Europe/Berlin"):
        micros, known, clock = times.parse(pa.array(written), pattern, zone, DUCK)
        assert known.all()
        assert dict(zip(text, clock.tolist(), strict=True)) == text
        assert micros[4] == int(datetime.datetime(2026, 7, 5, 14, tzinfo=datetime.UTC).timestamp()) * 1_000_000


def test_a_moment_that_a_spreadsheet_has_rounded_is_none() -> None:
    text = ["1.76761E+12", "1.767607247000E+12", "1.767607247e+12", "1767607247000", "1.7676E12"]
    assert times.parse(pa.array(text), "ms", "UTC", DUCK)[1].tolist() == [False, True, True, True, True]
    text = ["1.76761e+09", "1.767607247e+09", "1.767607247123456000e+09", "5e+00"]
    assert times.parse(pa.array(text), "s", "UTC", DUCK)[1].tolist() == [False, True, True, True]


def test_few_events_long_before_all_others_are_said(desk: Desk) -> None:
    from clickflow.events import remarks

    early = row("1970-01-01 00:00:00", item="a") + row("2000-01-01 00:00:00", item="b")
    desk.put("a.csv", HEADER + early + b"".join(row(f"2026-01-05 10:{n // 60:02}:{n % 60:02}") for n in range(400)))
    card = desk.ingest().card
    assert card["apart"] == ["1970-01-01", "2000-01-01"]
    (remark,) = remarks.lines(card, desk.paths.quarantine, 1.0, b"")
    assert remark.startswith("few events are of 1970-01-01, 2000-01-01, more than a year before all others")
    desk.put("a.csv", HEADER + early * 1 + b"".join(row(f"2026-01-05 10:00:{n:02}") for n in range(60)))
    assert desk.ingest().card["apart"] == [], "one in thirty is a part of the log"


@pytest.mark.parametrize(
    ("pattern", "text", "utc"),
    [
        (None, "2026-01-05 10:00:00 UTC+05:30", "04:30"),
        (None, "2026-01-05T10:00:00 UTC-0330", "13:30"),
        (None, "2026-01-05 10:00:00 GMT+05:45", "04:15"),
        (None, "2026-01-05 10:00:00 UTC+1", "09:00"),
        ("%d.%m.%Y %H:%M %Z", "05.01.2026 10:00 UTC+0530", "04:30"),
        ("%a %b %d %H:%M:%S %Z %Y", "Mon Jan 05 10:00:00 UTC+12:45 2026", "21:15"),
    ],
)
def test_a_distance_from_utc_keeps_its_minutes(pattern: str | None, text: str, utc: str) -> None:
    for zone in ("UTC", "Europe/Berlin"):
        instants = times.parse(pa.array([text]), pattern, zone, DUCK)
        assert instants.known.all()
        assert f"{datetime.datetime.fromtimestamp(instants.micros[0] / 1e6, datetime.UTC):%H:%M}" == utc


@pytest.mark.parametrize(
    ("pattern", "full", "short"),
    [
        ("%Y%m%d", "20261105", "2026115"),
        ("%Y%m%d%H%M%S", "20260105090000", "2026010590000"),
        ("%Y-%m-%d %H%M", "2026-01-05 1105", "2026-01-05 115"),
        ("%d%m%Y %H:%M", "05112026 9:05", "5112026 9:05"),
    ],
)
def test_numbers_side_by_side_need_all_of_their_digits(pattern: str, full: str, short: str) -> None:
    assert times.parse(pa.array([full, short, None]), pattern, "UTC", DUCK).known.tolist() == [True, False, False]
