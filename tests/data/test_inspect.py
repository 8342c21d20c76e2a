"""`clickflow inspect`: its block, put into params.yaml, reads the file; and an error says all that is wrong at once."""

import csv
import gzip
import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from ingest_setup import HEADER, Desk, row, rows
from typer.testing import CliRunner

from clickflow.cli import app
from clickflow.events.inspect.form import encoding_of
from clickflow.events.inspect.time_forms import clock_of
from clickflow.params.file import check, load
from clickflow.system.errors import DataError


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object], root: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A workspace with the repository's params.yaml, which is the working directory."""
    made = Desk(tmp_path / "w", raw_params)
    made.paths.params.write_text((root / "tests/assets/params_long.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    (made.paths.root / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    monkeypatch.chdir(made.paths.root)
    return made


def inspect(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["inspect", *map(str, arguments)])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def found(*arguments: str | Path) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(inspect(*arguments, "--json"))
    return parsed


def ingested(desk: Desk, *targets: str | Path) -> dict[str, Any]:
    """The card of an ingest by the params that `--write` leaves."""
    inspect(*targets, "--write")
    params = load(desk.paths.params)
    desk.raw_params["source"] = yaml.safe_load(desk.paths.params.read_text(encoding="utf-8"))["source"]
    source = params.source
    return desk.ingest(source__kind=source.kind, source__path=source.path).card


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
def test_every_real_log(desk: Desk, shop_data: Path, name: str, expected: dict[str, Any]) -> None:
    source = found(shop_data / name)["source"]
    assert {key: source[key] for key in expected} == expected
    card = ingested(desk, shop_data / name)
    path = shop_data / name
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
        (said,) = (doubt for doubt in found(path)["not_sure_of"] if "ingest.duplicates: keep" in doubt)
        assert said.startswith(f"{1 - len(distinct) / len(body):.1%} of the rows repeat an earlier one")
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
    told = found(path)
    assert {key: told["source"][key] for key in ("delimiter", "encoding", "decimal", "thousands", "time_format")} == {
        "delimiter": ";",
        "encoding": "cp1252",
        "decimal": ",",
        "thousands": ".",
        "time_format": "%d.%m.%Y %H:%M:%S",
    }
    assert told["source"]["event_types"] == {
        "produkt": "view",
        "warenkorb": "cart",
        "kauf": "purchase",
        "heartbeat": "ignore",
    }
    assert any("cp1252 is a guess" in doubt for doubt in told["not_sure_of"])
    assert any("carry no zone" in doubt for doubt in told["not_sure_of"])
    assert (told["trial"]["accepted"], told["trial"]["ignored"], told["trial"]["refused"]) == (3, 1, 0)
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
        told = found(path)
        assert told["source"]["encoding"] == encoding
        assert told["source"]["columns"] == {
            "event_time": "时间戳",
            "event_type": "行为类型",
            "user_id": "用户ID",
            "item_id": "商品ID",
            "item_name": "商品名称",
        }
        assert told["source"]["event_types"] == {
            "浏览": "view",
            "加购": "cart",
            "收藏": "favourite",
            "购买": "purchase",
        }
        assert told["source"]["time_format"] == "s"
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
    told = found(path)
    assert told["trial"]["accepted"] == 20
    assert told["source"]["columns"] == {"event_time": "ts", "user_id": "user", "item_id": "sku"}
    assert told["source"]["event_types"] == {"*": "view"}
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
    told = found(path)
    assert told["source"]["explode"] == "items"
    assert told["source"]["columns"]["user_id"] == "user.id"
    assert (told["trial"]["read"], told["trial"]["accepted"], told["trial"]["ignored"]) == (80, 40, 40)
    assert ingested(desk, path)["accepted"] == 40


def test_a_file_without_a_header_and_what_is_unsure_of_it(desk: Desk) -> None:
    data = "".join(f"c{n % 4},p{n % 6},view,{'13' if n % 2 else '05'}/02/2026 10:{n:02}\n" for n in range(40))
    told = found(desk.put("log.csv", data.encode()))
    assert told["source"]["header"] == []
    assert told["source"]["columns"] == {"event_time": "4", "event_type": "3", "user_id": "1", "item_id": "2"}
    assert told["source"]["time_format"] == "%d/%m/%Y %H:%M"
    assert any("no header" in doubt for doubt in told["not_sure_of"])
    assert told["trial"]["accepted"] == 40


def test_day_and_month_are_not_guessed_in_silence(desk: Desk) -> None:
    data = HEADER + b"".join(row(f"0{n % 3 + 1}/05/2026 10:{n:02}", item=f"i{n}") for n in range(30))
    told = found(desk.put("log.csv", data))
    assert told["source"]["time_format"] == "%d/%m/%Y %H:%M"
    assert any("day and month" in doubt and "%m/%d/%Y" in doubt for doubt in told["not_sure_of"])


def test_placeholders_ties_and_orders_are_seen(desk: Desk) -> None:
    lines = [
        f"2026-01-05 10:0{n // 30}:00,view,{'0' if n % 2 else f'u{n}'},i{n},{n % 30},{'' if n % 4 else 'x'}"
        for n in range(200)
    ]
    data = "event_time,event_type,user_id,item_id,event_index,note\n" + "\n".join(lines) + "\n"
    told = found(desk.put("log.csv", data.encode()))
    assert told["source"]["nulls"]["user_id"] == ["0"]
    assert "(not set)" in told["source"]["nulls"]["*"]
    assert any("user_id: '0' stand for nothing" in doubt for doubt in told["not_sure_of"])


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
    told = found(desk.log)
    assert (told["files"], told["trial"]["accepted"]) == (3, 150)
    named = found(desk.log / "2026-01-01.csv", desk.log / "2026-01-02.csv")
    assert named["source"]["pattern"] == "*.csv"
    assert any("takes 1 files more" in doubt for doubt in named["not_sure_of"])
    desk.put("2026-01-02.csv", b"at;what\n1;2\n")
    broken = found(desk.log)
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


def test_epoch_times_that_are_read_as_iso_suggest_their_unit(desk: Desk) -> None:
    desk.put("log.csv", HEADER + b"".join(row(f"14332213321{n}", item=f"i{n}") for n in range(10, 40)))
    with pytest.raises(DataError, match=r"unparseable_time 30[^\n]*\n[^\n]*time_format: ms"):
        desk.ingest()


def test_no_object_is_close_to_a_column(desk: Desk) -> None:
    desk.put("log.jsonl", b'{"items":{"sku":1},"event_times":{"at":1},"event_type":"view","user_id":"u"}\n')
    with pytest.raises(DataError, match="lacks event_time") as error:
        desk.ingest(source__columns={"event_time": "event_time", "item_id": "item"})
    assert "Close to it: event_times.at, items.sku.\n" in str(error.value)


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
    said = found(desk.log)
    assert (said["source"]["decimal"], said["source"]["thousands"]) == (decimal, thousands)
    assert any("thousands or decimals" in each for each in said["not_sure_of"]) is (name == "grouped by points")
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
    (doubt,) = [each for each in found(desk.log)["not_sure_of"] if "each is another one" in each]
    assert doubt.startswith("user_id: ")
    one = [(f"u{at % 9}", at) for at in range(40)] + [(f"{300 + at // 2}{'.0' * (at % 2)}", at) for at in range(40)]
    desk.put("a.csv", HEADER + b"".join(row(item=f"i{at}", user=user) for user, at in one))
    assert not [each for each in found(desk.log)["not_sure_of"] if "each is another one" in each]


def test_shops_words(desk: Desk) -> None:
    """A till's receipts, orders without a type, a fashion shop's bag; a visit with prices is no order."""
    kinds = ("Verkauf", "Storno")
    till = "Bon;Zeit;Kundennr;Art;PZN;Warengruppe;Menge;Einzelpreis\n" + "".join(
        f"B{n // 2};{1 + n // 9:02}.03.2026 10:{n % 60:02}:00;{n % 7:06};{kinds[n % 9 == 8]};PZN{n % 5};a;1;5,84\n"
        for n in range(90)
    )
    said = found(desk.put("till.csv", till.encode()))
    assert said["source"]["event_types"] == {"Verkauf": "purchase", "Storno": "cancel"}
    assert said["source"]["columns"] == {
        "event_time": "Zeit", "event_type": "Art", "user_id": "Kundennr", "session_id": "Bon", "item_id": "PZN",
        "category": "Warengruppe", "price": "Einzelpreis", "quantity": "Menge",
    }  # fmt: skip
    orders = "order_date,customer_no,order_no,article_no,group,pieces,unit_price\n" + "".join(
        f"2026-03-{1 + n // 9:02},{n % 7},{n // 3},A-{n % 5},g,2,5.84\n" for n in range(90)
    )
    said = found(desk.put("orders.csv", orders.encode()))
    assert (said["source"]["event_types"], said["trial"]["accepted"]) == ({"*": "purchase"}, 90)
    bag = HEADER + b"".join(row(item=f"i{n % 5}", kind=["view", "add_to_bag"][n % 2]) for n in range(20))
    assert found(desk.put("bag.csv", bag))["source"]["event_types"] == {"add_to_bag": "cart"}
    visits = "zeit,besuch,artikel,preis\n" + "".join(
        f"2026-03-{1 + n // 9:02} 10:{n % 60:02}:00,b{n // 3},A-{n % 5},5.84\n" for n in range(90)
    )
    assert found(desk.put("visits.csv", visits.encode()))["source"]["event_types"] == {"*": "view"}
    page = inspect(desk.put("bare.csv", orders.replace("article_no", "what").encode()))
    assert "mend the block first: as it is, no row is accepted" in page
    assert "is made a comment" not in page


def test_times_of_which_some_carry_their_zone_are_asked_about(desk: Desk) -> None:
    ends = ["Z", "", "+02:00", " CET"]
    times = [f"2026-01-05T10:00:{n % 60:02}{ends[n % 4]}" for n in range(80)]
    desk.put("a.csv", HEADER + b"".join(row(time, item=f"i{n}") for n, time in enumerate(times)))
    assert "25% of its times carry no zone: they are read as UTC" in inspect(desk.log)


def test_a_packed_file_of_nothing_beside_good_ones_is_passed_over(desk: Desk) -> None:
    desk.put("1.csv", HEADER + rows(50))
    desk.put("2.csv.gz", gzip.compress(b""))
    assert ingested(desk, desk.log)["accepted"] == 50


def test_what_ids_hold_is_asked_about_in_all_files(desk: Desk) -> None:
    desk.put("1.csv", HEADER + b"".join(row(f"2026-01-05 10:{n:02}:00", item=f"{n % 9:05}") for n in range(40)))
    later = [f"{n % 9}" if n % 4 else f"{n % 9}|{(n + 1) % 9}" for n in range(40)]
    mail = [f"x.org/?email=eve{n}@shop.org" if n % 5 == 0 else item for n, item in enumerate(later)]
    desk.put("2.csv", HEADER + b"".join(row(f"2026-01-06 10:{n:02}:00", item=item) for n, item in enumerate(mail)))
    doubts = found(desk.log)["not_sure_of"]
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
    told = found(desk.put("a.csv", text.encode()))
    assert any("prices are in several currencies, as currency says" in doubt for doubt in told["not_sure_of"])
    brackets = HEADER + b"".join(row(f"2026-01-05 10:{n:02}:00", price=f"({n}.5)") for n in range(40))
    assert found(desk.put("a.csv", brackets))["source"]["currency"] == []


def test_times_of_a_type_without_a_zone_are_asked_about(desk: Desk) -> None:
    moments = [datetime(2026, 1, 5, 10, n) for n in range(40)]  # noqa: DTZ001
    table = {"user_id": ["u"] * 40, "item_id": [str(n) for n in range(40)]}
    naive, zoned = pa.timestamp("us"), pa.timestamp("us", "UTC")
    for kind, asked in ((naive, True), (zoned, False)):
        pq.write_table(pa.table({"event_time": pa.array(moments).cast(kind), **table}), desk.log / "a.parquet")
        doubts = found(desk.log)["not_sure_of"]
        assert any("its times carry no zone" in doubt for doubt in doubts) == asked
    clock = pa.array([moment.time() for moment in moments])
    pq.write_table(
        pa.table({"date": [moment.date() for moment in moments], "time": clock, **table}), desk.log / "a.parquet"
    )
    assert any("the time of day stands in time" in doubt for doubt in found(desk.log)["not_sure_of"])


def test_sessions_of_large_numbers_are_no_order(desk: Desk) -> None:
    head = "household_key,BASKET_ID,DAY,PRODUCT_ID,QUANTITY\n"
    told = found(
        desk.put(
            "a.csv", (head + "".join(f"{n % 9},{26984851472 + n // 4},{n},{n % 7},1\n" for n in range(80))).encode()
        )
    )
    assert told["source"]["time_format"] is None
    told = found(desk.put("a.csv", (head + "".join(f"{n % 9},{n // 4},{n},{n % 7},1\n" for n in range(80))).encode()))
    assert (told["source"]["time_format"], told["trial"]["accepted"]) == ("order", 80)


def test_a_header_that_comes_again_in_another_order_stops(desk: Desk) -> None:
    head, body = HEADER.decode(), rows(20).decode()
    again = head.replace("user_id,session_id", "session_id,user_id")
    desk.put("a.csv", (head + body + again + body).encode())
    with pytest.raises(DataError, match="its header comes again in line 22, with the columns in another order"):
        desk.ingest(source__event_types={"*": "ignore"})
    desk.put("a.csv", (head + body + head + rows(20, 20).decode()).encode())
    assert desk.ingest().card["accepted"] == 40


def test_every_file_of_a_folder_is_looked_at_and_what_differs_is_said(desk: Desk) -> None:
    for day in range(20, 40):
        desk.put(f"{day}.csv", HEADER + rows(20))
    assert not any(" files (" in doubt for doubt in found(desk.log)["not_sure_of"])
    desk.put("21.csv", (HEADER + rows(20)).replace(b",", b";"))
    desk.put("22.csv", (HEADER + rows(20)).replace(b"item_id", b"sku"))
    desk.put("23.csv", rows(20))
    desk.put("24.csv", HEADER + rows(20).replace(b"i1", "é".encode("cp1252")))
    desk.put("25.csv.gz", gzip.compress((HEADER + rows(20)).replace(b"price", b"colour")))
    desk.put("26.csv", HEADER.replace(b"campaign", b"country") + rows(20))
    desk.put("27.csv", HEADER.replace(b"campaign", b"brand") + rows(20))
    desk.put("28.csv", b"")
    desk.put("29.csv", json.dumps({"event_time": "2026-01-05 10:00", "item_id": "a"}).encode())
    said = [doubt.split("): ", 1) for doubt in found(desk.log)["not_sure_of"] if " files (" in doubt]
    by_file = {head.partition("(")[2]: text for head, text in said}
    assert all(head.startswith("1 of 20 files (") for head, _ in said)
    usual = "where 39.csv is csv with ',', utf-8"
    assert by_file["21.csv"] == f"delimiter ';', {usual}"
    assert by_file["22.csv"] == "no item_id, but sku: one name is read in all files, that of source.columns"
    assert by_file["23.csv"] == f"without a header, {usual}"
    assert by_file["24.csv"] == f"cp1252, {usual}"
    assert by_file["26.csv"] == "country, which 39.csv has not, so that it is not read"
    assert by_file["27.csv"].endswith("has two columns called 'brand'")
    assert "29.csv" in by_file
    assert "25.csv.gz" not in by_file, "the price is empty in all files, and not used"


def test_a_header_that_names_a_column_twice_is_none_the_less_a_header(desk: Desk) -> None:
    log = desk.put("a.csv", HEADER.replace(b"campaign", b"brand") + rows(20))
    result = CliRunner().invoke(app, ["inspect", str(log)])
    assert "two columns called 'brand'" in str(result.exception)
    log = desk.put("a.csv", HEADER.replace(b"\n", b",,\n") + rows(20).replace(b"\n", b",,\n"))
    assert found(log)["form"]["header"] is True, "columns without a name have none in common"


def test_the_order_of_files_by_their_names_is_said_where_it_decides(desk: Desk) -> None:
    for number in (1, 2, 10):
        rows = "".join(f"2026-01-05,view,u1,p{number}-{at}\n" for at in range(3))
        desk.put(f"part-{number}.csv", f"date,event,user,sku\n{rows}".encode())
    assert "part-10.csv before part-2.csv" in said_of(desk)
    (desk.log / "part-10.csv").unlink()
    assert "part-2.csv, and so are" not in said_of(desk)


def said_of(desk: Desk) -> str:
    """What inspect is not sure of in a folder."""
    return CliRunner().invoke(app, ["inspect", str(desk.log)]).stdout
