"""`clickflow inspect`: its block, put into params.yaml, reads the file; and an error says all that is wrong at once."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import real_logs
import yaml
from ingest_setup import HEADER, Desk, row, rows
from inspecting import as_written, ingested, inspect, inspection, workspace_of
from typer.testing import CliRunner

from clickflow.cli import app
from clickflow.events.inspect.form import encoding_of
from clickflow.events.inspect.time_forms import clock_of
from clickflow.params.file import check, load
from clickflow.system.errors import DataError


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object], root: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return workspace_of(tmp_path, raw_params, root / "tests/assets/params_long.yaml", monkeypatch)


SHOP = [
    ("bolcom_clicks/train.tsv.gz", {"preset": "session_tsv"}),
    ("bolcom_clicks", {"preset": "session_tsv"}),
    ("retailrocket_sessions", {"preset": "session_tsv", "time_format": "order"}),
    ("rees46_slice", {"preset": "rees46"}),
    ("taobao_slice", {"preset": "taobao"}),
    ("uci_online_retail", {"preset": "uci_retail"}),
    ("otto_slice", {"preset": "otto"}),
    ("layouts/hm_transactions.csv.gz", {"preset": "hm"}),
    ("layouts/ml-100k.inter.gz", {"preset": "recbole"}),
    ("layouts/ga4_sample.csv.gz", {"preset": None, "time_format": "us", "event_types": {"*": "purchase"}}),
]


@pytest.mark.parametrize(("name", "expected"), SHOP, ids=[name for name, _ in SHOP])
def test_every_real_log(
    desk: Desk, shop_data: Path, tmp_path_factory: pytest.TempPathFactory, name: str, expected: dict[str, Any]
) -> None:
    path = shop_data / name
    source = inspection(path, "--write")["source"]
    assert {key: source[key] for key in expected} == expected
    card = real_logs.ingested(tmp_path_factory, as_written(desk)).card
    files = sorted(path.glob("*.gz")) if path.is_dir() else [path]
    texts = [gzip.decompress(file.read_bytes()).decode() for file in files]
    if name == "otto_slice":
        lines = [json.loads(line) for line in texts[0].splitlines()]
        assert card["read"] == card["accepted"] == sum(len(line["events"]) for line in lines)
        assert card["sessions"] == len({line["session"] for line in lines})
        return
    header = 0 if name == "taobao_slice" else 1
    tables = [list(csv.reader(io.StringIO(text), delimiter="\t" if "\t" in text[:200] else ",")) for text in texts]
    assert card["read"] == sum(len(table) - header for table in tables)
    head, *body = tables[0]
    if name == "layouts/ga4_sample.csv.gz":
        lacking = sum(row[head.index("item_id")] == "(not set)" for row in body)
        assert card["reasons"].get("null_item") == lacking == 448
        assert card["accepted"] + card["reasons"].get("duplicate", 0) == len(body) - lacking
    if name == "layouts/hm_transactions.csv.gz":
        distinct = {tuple(row[:4]) for row in body}
        assert (card["accepted"], card["users"]) == (len(distinct), len({row[1] for row in body}))
        (repeats,) = (doubt for doubt in inspection(path)["not_sure_of"] if "ingest.duplicates: keep" in doubt)
        assert repeats.startswith(f"{1 - len(distinct) / len(body):.1%} of the rows repeat an earlier one")
    if name == "layouts/ml-100k.inter.gz":
        assert card["accepted"] == 100_000
        assert (card["users"], card["items"]) == (len({row[0] for row in body}), len({row[1] for row in body}))
    if name == "rees46_slice":
        assert card["reasons"] == {"truncated": 1, "duplicate": 5}
    if name == "taobao_slice":
        assert (card["accepted"], card["users"]) == (110_300, 66_454)
    if name in ("bolcom_clicks", "retailrocket_sessions"):
        assert card["sessions"] == len({row[0] for table in tables for row in table[1:]})


GERMAN = """zeit;aktion;kunde;besuch;artikel;preis
05.01.2026 10:00:00;produkt;4711;a1f;SKU-17;19,90
05.01.2026 10:00:42;warenkorb;4711;a1f;Müller;1.019,90
25.01.2026 10:02:10;kauf;4711;a1f;SKU-17;19,90
25.01.2026 10:02:11;heartbeat;4711;a1f;;
"""


def test_a_german_log_in_cp1252(desk: Desk) -> None:
    path = desk.put("log.csv", GERMAN.encode("cp1252"))
    report = inspection(path)
    assert {key: report["source"][key] for key in ("delimiter", "encoding", "decimal", "thousands", "time_format")} == {
        "delimiter": ";",
        "encoding": "cp1252",
        "decimal": ",",
        "thousands": ".",
        "time_format": "%d.%m.%Y %H:%M:%S",
    }
    assert report["source"]["event_types"] == {
        "produkt": "view",
        "warenkorb": "cart",
        "kauf": "purchase",
        "heartbeat": "ignore",
    }
    assert any("cp1252 is a guess" in doubt for doubt in report["not_sure_of"])
    assert any("carry no zone" in doubt for doubt in report["not_sure_of"])
    assert (report["trial"]["accepted"], report["trial"]["ignored"], report["trial"]["refused"]) == (3, 1, 0)
    card = ingested(desk, path)
    assert card["accepted"] == 3


def test_a_chinese_log(desk: Desk) -> None:
    text = "用户ID,商品ID,商品名称,行为类型,时间戳\n" + "".join(
        f"{n % 9},{n % 5},台灯{n % 5},{kind},{1511658000 + 60 * n}\n"
        for n in range(40)
        for kind in ("浏览", "加购", "收藏", "购买")
    )
    for encoding in ("utf-8", "gb18030", "utf-16"):
        path = desk.put("log.csv", text.encode(encoding))
        report = inspection(path)
        assert report["source"]["encoding"] == encoding
        assert report["source"]["columns"] == {
            "event_time": "时间戳",
            "event_type": "行为类型",
            "user_id": "用户ID",
            "item_id": "商品ID",
            "item_name": "商品名称",
        }
        assert report["source"]["event_types"] == {
            "浏览": "view",
            "加购": "cart",
            "收藏": "favourite",
            "购买": "purchase",
        }
        assert report["source"]["time_format"] == "s"
        assert ingested(desk, path)["accepted"] == 160


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "tsv", "zip"])
def test_formats_are_told_by_what_is_inside(desk: Desk, kind: str) -> None:
    times = [f"2026-01-05T10:00:{n:02}" for n in range(20)]
    table = pa.table({"ts": times, "user": [f"u{n % 3}" for n in range(20)], "sku": ["a", "b"] * 10})
    path = desk.put("events.log", b"")
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        mark = "\t" if kind == "tsv" else ","
        lines = [mark.join(values.values()) for values in table.to_pylist()]
        text = "\n".join([mark.join(table.column_names), *lines]) + "\n"
        if kind == "jsonl":
            text = "".join(json.dumps(values) + "\n" for values in table.to_pylist())
        path.write_bytes(text.encode())
        if kind == "zip":
            import zipfile

            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("inside.dat", text)
    report = inspection(path)
    assert report["trial"]["accepted"] == 20
    assert report["source"]["columns"] == {"event_time": "ts", "user_id": "user", "item_id": "sku"}
    assert report["source"]["event_types"] == {"*": "view"}
    assert ingested(desk, path)["accepted"] == 20


@pytest.mark.parametrize("kind", ["parquet", "json", "jsonl"])
def test_lists_of_items_become_events(desk: Desk, kind: str) -> None:
    rows = [
        {
            "event_timestamp": 1767225600000000 + 10**9 * n,
            "event_name": "view_item" if n % 2 else "heartbeat",
            "user": {"id": f"u{n % 5}"},
            "items": [{"item_id": f"p{n % 7}", "price": 1.5}, {"item_id": f"p{n % 3}", "price": 2.0}],
        }
        for n in range(40)
    ]
    path = desk.put(f"ga4.{kind}", b"")
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if kind == "json" else "".join(json.dumps(each) + "\n" for each in rows))
    report = inspection(path)
    assert report["source"]["explode"] == "items"
    assert report["source"]["columns"]["user_id"] == "user.id"
    assert (report["trial"]["read"], report["trial"]["accepted"], report["trial"]["ignored"]) == (80, 40, 40)
    assert ingested(desk, path)["accepted"] == 40


def test_a_file_without_a_header_and_what_is_unsure_of_it(desk: Desk) -> None:
    data = "".join(f"c{n % 4},p{n % 6},view,{'13' if n % 2 else '05'}/02/2026 10:{n:02}\n" for n in range(40))
    report = inspection(desk.put("log.csv", data.encode()))
    assert report["source"]["header"] == []
    assert report["source"]["columns"] == {"event_time": "4", "event_type": "3", "user_id": "1", "item_id": "2"}
    assert report["source"]["time_format"] == "%d/%m/%Y %H:%M"
    assert any("no header" in doubt for doubt in report["not_sure_of"])
    assert report["trial"]["accepted"] == 40


def test_the_page_is_yaml_and_write_keeps_comments(desk: Desk) -> None:
    path = desk.put("log.csv", GERMAN.encode())
    page = inspect(path)
    parsed = yaml.safe_load(page)
    assert parsed["source"]["columns"]["event_time"] == "zeit"
    assert "\x1b" not in page
    assert "# not sure of:" in page
    assert "# tried on 4 rows: 3 accepted, 1 ignored, 0 refused" in page
    before = desk.paths.params.read_text(encoding="utf-8")
    assert "params.yaml was written" in inspect(path, "--write")
    after = desk.paths.params.read_text(encoding="utf-8")
    written = yaml.safe_load(after)
    assert check(written) == check(written | {"source": parsed["source"]}), "what is not named is the default"
    assert parsed["source"]["path"] == "log/log.csv"
    comments = [line.partition("#")[2] for line in before.splitlines() if "#" in line]
    kept = [line.partition("#")[2] for line in after.splitlines() if "#" in line]
    assert len(kept) == len(comments)


def test_several_files_and_one_that_does_not_fit(desk: Desk) -> None:
    for day in (1, 2, 3):
        desk.put(f"2026-01-0{day}.csv", HEADER + rows(50, day=day))
    desk.put("notes.md", b"x")
    report = inspection(desk.log)
    assert (report["files"], report["trial"]["accepted"]) == (3, 150)
    named = inspection(desk.log / "2026-01-01.csv", desk.log / "2026-01-02.csv")
    assert named["source"]["pattern"] == "*.csv"
    assert any("takes 1 files more" in doubt for doubt in named["not_sure_of"])
    desk.put("2026-01-02.csv", b"at;what\n1;2\n")
    broken = inspection(desk.log)
    assert broken["trial"] is None
    assert "2026-01-02.csv lacks event_time" in broken["fault"]


@pytest.mark.parametrize("data", [b"", b"\x00\x01\x02" * 500, b"PAR1", b"7z\xbc\xaf\x27\x1c", HEADER])
def test_what_cannot_be_looked_at_is_said(desk: Desk, data: bytes) -> None:
    result = CliRunner().invoke(app, ["inspect", str(desk.put("a.csv", data))])
    assert result.exit_code
    assert isinstance(result.exception, DataError)


def test_an_error_says_all_that_is_wrong_at_once(desk: Desk) -> None:
    desk.put("log.dat", GERMAN.encode("cp1252"))
    with pytest.raises(DataError) as error:
        desk.ingest()
    for part in (
        "delimiter: ;",
        "encoding: cp1252",
        "event_time: zeit",
        "produkt: view",
        "time_format: '%d.%m.%Y",
        "decimal: ','",
    ):
        assert part in error.value.what, part
    assert "clickflow inspect" in error.value.next_step


def test_encodings() -> None:
    assert encoding_of("Ünïcode, 用户".encode())[0] == "utf-8"
    assert encoding_of("a,b\nMüller,é\n".encode("cp1252"))[0] == "cp1252"
    assert encoding_of(("用户,商品,浏览\n" * 5).encode("gb18030"))[0] == "gb18030"
    assert encoding_of("a,b\n用,é\n".encode("utf-16-le"))[0] == "utf-16-le"
    assert encoding_of("a,b\n用,é\n".encode("utf-16"))[0] == "utf-16"


TIMES = [
    ("2019-10-01 00:00:00 UTC", None),
    ("2026-03-01 09:00:00 +0400", None),
    ("1605937059520352", "us"),
    ("1433221332117", "ms"),
    ("881250949", "s"),
    ("20201121", "%Y%m%d"),
    ("2019100113", "%Y%m%d%H"),
    ("13/05/2020 10:00", "%d/%m/%Y %H:%M"),
    ("05/13/2020 1:00 PM", "%m/%d/%Y %I:%M %p"),
    ("10/Oct/2000:13:55:36 -0700", "%d/%b/%Y:%H:%M:%S %z"),
    ("2020年05月01日 10:00:00", "%Y年%m月%d日 %H:%M:%S"),
]


@pytest.mark.parametrize(("text", "form"), TIMES)
def test_forms_of_times(text: str, form: str | None) -> None:
    from clickflow.events.engine import started

    with started(0.5) as engine:
        clock = clock_of(pa.array([text]), engine.cursor())
        assert clock is not None
        assert clock.time_format == form
        assert clock_of(pa.array(["SKU-17", "4711-x"]), engine.cursor()) is None


def test_models_that_a_log_has_nothing_for_become_comments(desk: Desk, root: Path) -> None:
    """Only orders: no visits to learn from; no users: no customers. Taken back, the file is what it was."""
    shipped = (root / "params.yaml").read_text(encoding="utf-8")
    orders = "".join(
        f"2026-{1 + day // 28:02}-{1 + day % 28:02}T10:00:00Z,purchase,u{who},s{who}_{day},i{item},1\n"
        for day in range(0, 250, 5)
        for who in range(3)
        for item in range(3)
    )
    views = "".join(f"2026-01-{1 + day:02}T10:0{n}:00Z,view,,s{day},i{n},1\n" for day in range(20) for n in range(5))
    for text, left, gone in ((orders, "customers", "next_step"), (views, "next_step", "customers")):
        desk.paths.params.write_text(shipped, encoding="utf-8")
        path = desk.put("log.csv", f"event_time,event_type,user_id,session_id,item_id,price\n{text}".encode())
        assert f"models.{gone} is made a comment by --write: the log " in inspect(path)
        assert desk.paths.params.read_text(encoding="utf-8") == shipped
        inspect(path, "--write")
        params = load(desk.paths.params)
        assert list(params.models) == list(params.champion) == [left]
        assert params.units == (params.models[left].unit,)
        written = desk.paths.params.read_text(encoding="utf-8")
        assert "as far as it was looked at. Where all of" in written
        assert f"add {'customer' if gone == 'customers' else 'session'} to units" in written
    assert params.sequences.customer == load(root / "params.yaml").sequences.customer, "nobody is asked about"
    desk.paths.params.write_text(shipped, encoding="utf-8")
    inspect(
        desk.put("log.csv", f"event_time,event_type,user_id,session_id,item_id,price\n{orders}".encode()), "--write"
    )
    assert load(desk.paths.params).sequences.customer.horizon_days == 30


def test_shops_words(desk: Desk) -> None:
    """A till's receipts, orders without a type, a fashion shop's bag; a visit with prices is no order."""
    kinds = ("Verkauf", "Storno")
    till = "Bon;Zeit;Kundennr;Art;PZN;Warengruppe;Menge;Einzelpreis\n" + "".join(
        f"B{n // 2};{1 + n // 9:02}.03.2026 10:{n % 60:02}:00;{n % 7:06};{kinds[n % 9 == 8]};PZN{n % 5};a;1;5,84\n"
        for n in range(90)
    )
    report = inspection(desk.put("till.csv", till.encode()))
    assert report["source"]["event_types"] == {"Verkauf": "purchase", "Storno": "cancel"}
    assert report["source"]["columns"] == {
        "event_time": "Zeit", "event_type": "Art", "user_id": "Kundennr", "session_id": "Bon", "item_id": "PZN",
        "category": "Warengruppe", "price": "Einzelpreis", "quantity": "Menge",
    }  # fmt: skip
    orders = "order_date,customer_no,order_no,article_no,group,pieces,unit_price\n" + "".join(
        f"2026-03-{1 + n // 9:02},{n % 7},{n // 3},A-{n % 5},g,2,5.84\n" for n in range(90)
    )
    report = inspection(desk.put("orders.csv", orders.encode()))
    assert (report["source"]["event_types"], report["trial"]["accepted"]) == ({"*": "purchase"}, 90)
    bag = HEADER + b"".join(row(item=f"i{n % 5}", kind=["view", "add_to_bag"][n % 2]) for n in range(20))
    assert inspection(desk.put("bag.csv", bag))["source"]["event_types"] == {"add_to_bag": "cart"}
    visits = "zeit,besuch,artikel,preis\n" + "".join(
        f"2026-03-{1 + n // 9:02} 10:{n % 60:02}:00,b{n // 3},A-{n % 5},5.84\n" for n in range(90)
    )
    assert inspection(desk.put("visits.csv", visits.encode()))["source"]["event_types"] == {"*": "view"}
    page = inspect(desk.put("bare.csv", orders.replace("article_no", "what").encode()))
    assert "mend the block first: as it is, no row is accepted" in page
    assert "is made a comment" not in page


def test_a_packed_file_of_nothing_beside_good_ones_is_passed_over(desk: Desk) -> None:
    desk.put("1.csv", HEADER + rows(50))
    desk.put("2.csv.gz", gzip.compress(b""))
    assert ingested(desk, desk.log)["accepted"] == 50


def test_a_header_that_comes_again_in_another_order_stops(desk: Desk) -> None:
    head, body = HEADER.decode(), rows(20).decode()
    again = head.replace("user_id,session_id", "session_id,user_id")
    desk.put("a.csv", (head + body + again + body).encode())
    with pytest.raises(DataError, match="its header comes again in line 22, with the columns in another order"):
        desk.ingest(source__event_types={"*": "ignore"})
    desk.put("a.csv", (head + body + head + rows(20, 20).decode()).encode())
    assert desk.ingest().card["accepted"] == 40


def test_a_header_that_names_a_column_twice_is_none_the_less_a_header(desk: Desk) -> None:
    log = desk.put("a.csv", HEADER.replace(b"campaign", b"brand") + rows(20))
    result = CliRunner().invoke(app, ["inspect", str(log)])
    assert "two columns called 'brand'" in str(result.exception)
    log = desk.put("a.csv", HEADER.replace(b"\n", b",,\n") + rows(20).replace(b"\n", b",,\n"))
    assert inspection(log)["form"]["header"] is True, "columns without a name have none in common"
