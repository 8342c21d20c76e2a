"""What `clickflow inspect` is not sure of, it says: what can be read in two ways, and what columns would be missed."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingest_setup import HEADER, Desk, row, rows
from inspecting import ingested, inspect, inspection, said_of, workspace_of

from clickflow.events.inspect.time_forms import PATTERNS, possible_patterns
from clickflow.system.errors import DataError


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object], root: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return workspace_of(tmp_path, raw_params, root / "tests/assets/params_long.yaml", monkeypatch)


def test_day_and_month_are_not_guessed_in_silence(desk: Desk) -> None:
    data = HEADER + b"".join(row(f"0{n % 3 + 1}/05/2026 10:{n:02}", item=f"i{n}") for n in range(30))
    report = inspection(desk.put("log.csv", data))
    assert report["source"]["time_format"] == "%d/%m/%Y %H:%M"
    assert any("day and month" in doubt and "%m/%d/%Y" in doubt for doubt in report["not_sure_of"])


def test_every_pattern_that_reads_a_time_is_tried_on_it() -> None:
    """Those that cannot are left out by the marks in it, which costs less than to try them."""
    moments = (datetime(2026, 11, 3, 4, 5, 6, 7, UTC), datetime(2019, 12, 31, 23, 59, 58, 0, UTC))
    texts = [moment.strftime(pattern) for moment in moments for pattern in PATTERNS]
    texts += ["i12", "19.90", "a/b", "10:00", "12-11-10 3", "20261103T040506Z", "3 Nov", "AM"]
    reads = ", ".join(f"try_strptime(x, '{pattern}') IS NOT NULL" for pattern in PATTERNS)
    answers = duckdb.from_arrow(pa.table({"x": texts})).project(reads).fetchall()
    for text, answer in zip(texts, answers, strict=True):
        reading = {pattern for pattern, read in zip(PATTERNS, answer, strict=True) if read}
        assert reading <= set(possible_patterns([text])), text
    assert len(possible_patterns(["i12"])) < len(PATTERNS) / 10


def test_placeholders_ties_and_orders_are_seen(desk: Desk) -> None:
    lines = [
        f"2026-01-05 10:0{n // 30}:00,view,{'0' if n % 2 else f'u{n}'},i{n},{n % 30},{'' if n % 4 else 'x'}"
        for n in range(200)
    ]
    data = "event_time,event_type,user_id,item_id,event_index,note\n" + "\n".join(lines) + "\n"
    report = inspection(desk.put("log.csv", data.encode()))
    assert report["source"]["nulls"]["user_id"] == ["0"]
    assert "(not set)" in report["source"]["nulls"]["*"]
    assert any("user_id: '0' stand for nothing" in doubt for doubt in report["not_sure_of"])


def test_epoch_times_that_are_read_as_iso_suggest_their_unit(desk: Desk) -> None:
    desk.put("log.csv", HEADER + b"".join(row(f"14332213321{n}", item=f"i{n}") for n in range(10, 40)))
    with pytest.raises(DataError, match=r"unparseable_time 30[^\n]*\n[^\n]*time_format: ms"):
        desk.ingest()


def test_no_object_is_close_to_a_column(desk: Desk) -> None:
    desk.put("log.jsonl", b'{"items":{"sku":1},"event_times":{"at":1},"event_type":"view","user_id":"u"}\n')
    with pytest.raises(DataError, match="lacks event_time") as error:
        desk.ingest(source__columns={"event_time": "event_time", "item_id": "item"})
    assert "Close to it: event_times.at, items.sku.\n" in str(error.value)


PRICES = {
    "grouped by points": ([f"{n}.{n % 900 + 99:03}" if n % 3 else str(n) for n in range(1, 90)], ",", "."),
    "three decimals": ([f"{n}.{n % 900 + 99:03}" if n % 3 else "0.125" for n in range(1, 90)], ".", None),
    "apostrophes": ([f"{n}'{n:03}.50" for n in range(1, 90)], ".", "'"),
    "narrow spaces": ([f"{n}\u202f{n:03},50 €" for n in range(1, 90)], ",", " "),
}


@pytest.mark.parametrize("name", PRICES)
def test_what_groups_the_digits_of_prices(desk: Desk, name: str) -> None:
    values, decimal, thousands = PRICES[name]
    lines = [f"2026-01-05 10:00:{n % 60:02};view;u{n % 9};i{n % 7};{price}\n" for n, price in enumerate(values)]
    desk.put("a.csv", ("event_time;event_type;user_id;item_id;price\n" + "".join(lines)).encode())
    report = inspection(desk.log)
    assert (report["source"]["decimal"], report["source"]["thousands"]) == (decimal, thousands)
    assert any("thousands or decimals" in each for each in report["not_sure_of"]) is (name == "grouped by points")
    card = ingested(desk, desk.log)
    assert (card["accepted"], card["unread"]) == (len(values), {})


IDS = {
    "case": ["Ann@shop.example", "ann@shop.example", "ANN@shop.example"],
    "forms of a letter": ["M\u00fcller", "Mu\u0308ller"],
    "zeros": ["7", "007", "07"],
}


@pytest.mark.parametrize("name", IDS)
def test_one_id_in_several_forms_is_asked_about(desk: Desk, name: str) -> None:
    forms = [f"{form}{n}" if name != "zeros" else f"{form}{n % 5}" for n in range(20) for form in IDS[name]]
    desk.put("a.csv", HEADER + b"".join(row(item=f"i{at}", user=user) for at, user in enumerate(forms)))
    (doubt,) = [each for each in inspection(desk.log)["not_sure_of"] if "each is another one" in each]
    assert doubt.startswith("user_id: ")
    one = [(f"u{at % 9}", at) for at in range(40)] + [(f"{300 + at // 2}{'.0' * (at % 2)}", at) for at in range(40)]
    desk.put("a.csv", HEADER + b"".join(row(item=f"i{at}", user=user) for user, at in one))
    assert not [each for each in inspection(desk.log)["not_sure_of"] if "each is another one" in each]


def test_times_of_which_some_carry_their_zone_are_asked_about(desk: Desk) -> None:
    ends = ["Z", "", "+02:00", " CET"]
    times = [f"2026-01-05T10:00:{n % 60:02}{ends[n % 4]}" for n in range(80)]
    desk.put("a.csv", HEADER + b"".join(row(time, item=f"i{n}") for n, time in enumerate(times)))
    assert "25% of its times carry no zone: they are read as UTC" in inspect(desk.log)


def test_what_ids_hold_is_asked_about_in_all_files(desk: Desk) -> None:
    desk.put("1.csv", HEADER + b"".join(row(f"2026-01-05 10:{n:02}:00", item=f"{n % 9:05}") for n in range(40)))
    later = [f"{n % 9}" if n % 4 else f"{n % 9}|{(n + 1) % 9}" for n in range(40)]
    mail = [f"x.org/?email=eve{n}@shop.org" if n % 5 == 0 else item for n, item in enumerate(later)]
    desk.put("2.csv", HEADER + b"".join(row(f"2026-01-06 10:{n:02}:00", item=item) for n, item in enumerate(mail)))
    doubts = inspection(desk.log)["not_sure_of"]
    for part in (
        "where case, forms of letters, groups of digits, quotes and zeros in front do not count, such as",
        "ids are several other items in one, such as",
        "item_id: 8 values hold what looks like an e-mail address",
    ):
        assert any(part in doubt for doubt in doubts), part
    assert "@" not in "".join(doubts)


def test_a_currency_in_a_column_of_its_own_is_seen(desk: Desk) -> None:
    lines = [f"2026-01-05 10:{n:02}:00,view,u,i{n},{n}.5,{'USD' if n % 2 else 'JPY'}\n" for n in range(40)]
    text = "event_time,event_type,user_id,item_id,price,currency\n" + "".join(lines)
    report = inspection(desk.put("a.csv", text.encode()))
    assert any("prices are in several currencies, as currency says" in doubt for doubt in report["not_sure_of"])
    brackets = HEADER + b"".join(row(f"2026-01-05 10:{n:02}:00", price=f"({n}.5)") for n in range(40))
    assert inspection(desk.put("a.csv", brackets))["source"]["currency"] == []


def test_times_of_a_type_without_a_zone_are_asked_about(desk: Desk) -> None:
    moments = [datetime(2026, 1, 5, 10, n) for n in range(40)]  # noqa: DTZ001
    table = {"user_id": ["u"] * 40, "item_id": [str(n) for n in range(40)]}
    naive, zoned = pa.timestamp("us"), pa.timestamp("us", "UTC")
    for kind, doubtful in ((naive, True), (zoned, False)):
        pq.write_table(pa.table({"event_time": pa.array(moments).cast(kind), **table}), desk.log / "a.parquet")
        doubts = inspection(desk.log)["not_sure_of"]
        assert any("its times carry no zone" in doubt for doubt in doubts) == doubtful
    clock = pa.array([moment.time() for moment in moments])
    pq.write_table(
        pa.table({"date": [moment.date() for moment in moments], "time": clock, **table}), desk.log / "a.parquet"
    )
    assert any("the time of day stands in time" in doubt for doubt in inspection(desk.log)["not_sure_of"])


def test_sessions_of_large_numbers_are_no_order(desk: Desk) -> None:
    head = "household_key,BASKET_ID,DAY,PRODUCT_ID,QUANTITY\n"
    report = inspection(
        desk.put(
            "a.csv", (head + "".join(f"{n % 9},{26984851472 + n // 4},{n},{n % 7},1\n" for n in range(80))).encode()
        )
    )
    assert report["source"]["time_format"] is None
    report = inspection(
        desk.put("a.csv", (head + "".join(f"{n % 9},{n // 4},{n},{n % 7},1\n" for n in range(80))).encode())
    )
    assert (report["source"]["time_format"], report["trial"]["accepted"]) == ("order", 80)


def test_every_file_of_a_folder_is_looked_at_and_what_differs_is_said(desk: Desk) -> None:
    for day in range(20, 40):
        desk.put(f"{day}.csv", HEADER + rows(20))
    assert not any(" files (" in doubt for doubt in inspection(desk.log)["not_sure_of"])
    desk.put("21.csv", (HEADER + rows(20)).replace(b",", b";"))
    desk.put("22.csv", (HEADER + rows(20)).replace(b"item_id", b"sku"))
    desk.put("23.csv", rows(20))
    desk.put("24.csv", HEADER + rows(20).replace(b"i1", "é".encode("cp1252")))
    desk.put("25.csv.gz", gzip.compress((HEADER + rows(20)).replace(b"price", b"colour")))
    desk.put("26.csv", HEADER.replace(b"campaign", b"country") + rows(20))
    desk.put("27.csv", HEADER.replace(b"campaign", b"brand") + rows(20))
    desk.put("28.csv", b"")
    desk.put("29.csv", json.dumps({"event_time": "2026-01-05 10:00", "item_id": "a"}).encode())
    doubts = [doubt.split("): ", 1) for doubt in inspection(desk.log)["not_sure_of"] if " files (" in doubt]
    by_file = {head.partition("(")[2]: text for head, text in doubts}
    assert all(head.startswith("1 of 20 files (") for head, _ in doubts)
    usual = "where 39.csv is csv with ',', utf-8"
    assert by_file["21.csv"] == f"delimiter ';', {usual}"
    assert by_file["22.csv"] == "no item_id, but sku: one name is read in all files, that of source.columns"
    assert by_file["23.csv"] == f"without a header, {usual}"
    assert by_file["24.csv"] == f"cp1252, {usual}"
    assert by_file["26.csv"] == "country, which 39.csv has not, so that it is not read"
    assert by_file["27.csv"].endswith("has two columns called 'brand'")
    assert "29.csv" in by_file
    assert "25.csv.gz" not in by_file, "the price is empty in all files, and not used"


def test_the_order_of_files_by_their_names_is_said_where_it_decides(desk: Desk) -> None:
    for number in (1, 2, 10):
        rows = "".join(f"2026-01-05,view,u1,p{number}-{at}\n" for at in range(3))
        desk.put(f"part-{number}.csv", f"date,event,user,sku\n{rows}".encode())
    assert "part-10.csv before part-2.csv" in said_of(desk)
    (desk.log / "part-10.csv").unlink()
    assert "part-2.csv, and so are" not in said_of(desk)
