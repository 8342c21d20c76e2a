"""What a value means depends on the value alone, and an identity is one text however it is written."""

import io
import json
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ingest_setup import HEADER, Desk, row
from pyarrow import csv

from clickflow.events import amounts, remarks, suspects, texts
from clickflow.events.checks import Rules, check
from clickflow.events.delimited import Delimited
from clickflow.events.jsonlines import JsonLines
from clickflow.events.rows import reasons_of
from clickflow.events.shapes import shape
from clickflow.events.tables import Table
from clickflow.params import source
from clickflow.system.errors import UsageError

DUCK = duckdb.connect()
COLUMNS = ("event_time", "event_type", "user_id", "session_id", "item_id", "category", "price", "quantity")
NULLS = {"*": ["null", "NA", "(not set)", "nan", "-", "—"], "user_id": ["0"]}
RULES = Rules(
    event_types={"pdp": "view"},
    nulls=NULLS,
    decimal=".",
    thousands=None,
    currency=(),
    time_format=None,
    timezone="UTC",
    cancel_prefix="",
    latest=2_000_000_000_000_000,
    max_text_length=40,
    bad_optional="empty",
    require_user=False,
    key=b"k" * 32,
)


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    return Desk(tmp_path / "w", raw_params)


def written(kind: str, rows: Sequence[Sequence[str]], path: Path) -> Any:
    """A file of these rows, and its reader."""
    if kind == "csv":
        path.write_bytes("".join(",".join(fields) + "\n" for fields in rows).encode())
        return Delimited(path, COLUMNS, {name: at for at, name in enumerate(COLUMNS)}, b",", True, 0, 1)
    if kind == "jsonl":
        path.write_bytes(b"".join(json.dumps(dict(zip(COLUMNS, r, strict=True))).encode() + b"\n" for r in rows))
        return JsonLines(path, {name: name for name in COLUMNS}, "")
    pq.write_table(pa.table({name: [r[at] for r in rows] for at, name in enumerate(COLUMNS)}), path)
    return Table(path, {name: name for name in COLUMNS}, rows=3)


def canonical(kind: str, rows: Sequence[Sequence[str]], size: int) -> list[Any]:
    """Of each row the canonical event, or the reasons why it is none."""
    with tempfile.TemporaryDirectory() as folder:
        reader = written(kind, rows, Path(folder) / "file")
        outcomes: dict[int, Any] = {}
        for block in reader.blocks(size):
            parsed = reader.parse(block)
            assert not parsed.refused.positions
            checked = check(parsed.table, RULES, DUCK)
            events = checked.table.to_pylist()
            for at, (position, mask) in enumerate(zip(parsed.positions.tolist(), checked.mask.tolist(), strict=True)):
                outcomes[position] = reasons_of(mask) or events[at]
    return [outcomes[position] for position in sorted(outcomes)]


PAD = st.sampled_from(["", "", " ", "\u00a0", "\u3000", "\u2003", "\t", "\ufeff", "\x85", "x"])
VALUE = st.sampled_from(
    ["", "a", "123", "123.0", "0123", "1.5", "9007199254740993", "9007199254740992.0", "1e+05", "1.23E2", "null", "NA",
     "(not set)", "[1]", "日本", "é", "0", "-", "view", "pdp", "2026-01-05", "2026-01-05 10:00:00", "19.90", "nan"]
)  # fmt: skip
FIELD = st.tuples(PAD, VALUE, PAD).map("".join)
GOOD = st.tuples(
    st.just("2026-01-05 10:00:00"),
    st.just("view"),
    FIELD,
    FIELD,
    FIELD,
    FIELD,
    FIELD,
    st.sampled_from(["", "2", "2.0"]),
)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.one_of(GOOD, st.tuples(*[FIELD] * len(COLUMNS))), min_size=1, max_size=12), size=st.integers(1, 99)
)
def test_a_row_is_the_same_alone_and_among_any_others(kind: str, rows: list[tuple[str, ...]], size: int) -> None:
    alone = [canonical(kind, [fields], 1 << 20)[0] for fields in rows]
    assert canonical(kind, rows, 1 << 20) == alone
    assert canonical(kind, rows, size) == alone


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.sampled_from([*texts.WHITE, "a", "日", "é", "\u20ac"]), max_size=6))
def test_every_white_space_is_trimmed(text: str) -> None:
    assert texts.cleaned(pa.array([text, "b"]), []).to_pylist() == [text.strip(texts.WHITE) or None, "b"]


def test_every_white_space_of_unicode_is_known() -> None:
    assert {chr(code) for code in range(0x110000) if chr(code).isspace()} <= set(texts.WHITE)


def ids(desk: Desk, name: str, data: bytes) -> list[str]:
    """The items of a log's good rows."""
    for path in desk.log.iterdir():
        path.unlink()
    desk.put(name, data)
    return [str(item) for item in desk.ingest().events["item_id"].to_pylist()]


def jsonl(item: str) -> bytes:
    return b'{"event_time":"2026-01-05","event_type":"view","user_id":"u","item_id":' + item.encode() + b"}\n"


def parquet(items: pa.Array) -> bytes:
    out = io.BytesIO()
    count = len(items)
    times = pa.array(["2026-01-05"] * count)
    table = {"event_time": times, "event_type": ["view"] * count, "user_id": ["u"] * count, "item_id": items}
    pq.write_table(pa.table(table), out)
    return out.getvalue()


@settings(max_examples=25, deadline=None)
@given(number=st.one_of(st.integers(), st.integers(-(2**60), 2**60), st.integers(-(10**37), 10**37)))
@example(number=2**53)
@example(number=2**53 - 1)
@example(number=12345678901234567890)
@example(number=123456789012345678901234567890)
@example(number=0)
def test_an_integer_is_one_item_in_every_format(tmp_path_factory: Any, root: Path, number: int) -> None:
    import yaml

    desk = Desk(
        tmp_path_factory.mktemp("ids") / "w", yaml.safe_load((root / "tests/assets/params_long.yaml").read_text())
    )
    exact = str(number)
    forms = {
        "text.csv": HEADER + row(item=exact),
        "number.jsonl": jsonl(exact),
        "text.jsonl": jsonl(f'"{exact}"'),
        "text.parquet": parquet(pa.array([exact])),
        "decimal.parquet": parquet(pa.array([Decimal(number)], pa.decimal256(76, 2))),
    }
    if number == 0:
        forms |= {"minus.csv": HEADER + row(item="-0"), "minus.jsonl": jsonl("-0"), "minus_text.jsonl": jsonl('"-0"')}
    if abs(number) < 2**63:
        forms["int.parquet"] = parquet(pa.array([number], pa.int64()))
    if abs(number) < 2**53:
        forms["point.csv"] = HEADER + row(item=f"{exact}.0")
        forms["exponent.csv"] = HEADER + row(item=f"{number:.18e}")
        forms["float.jsonl"] = jsonl(f"{exact}.0")
        forms["float.parquet"] = parquet(pa.array([float(number)]))
    if abs(number) < 2**24:
        forms["single.parquet"] = parquet(pa.array([number], pa.float32()))
    for name, data in forms.items():
        desk.put(name, data)
    outcome = desk.ingest(ingest__duplicates="keep")
    assert outcome.quarantine == []
    assert outcome.events["item_id"].to_pylist() == [exact] * len(forms)


def test_an_id_with_a_point_keeps_its_digits_in_json(desk: Desk) -> None:
    text = "2697787.24221830990"
    assert ids(desk, "a.jsonl", jsonl(text)) == ids(desk, "a.csv", HEADER + row(item=text)) == [text]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", HEADER + row(item="9007199254740992.0")),
        ("a.csv", HEADER + row(item="1.2345678901234568e+18")),
        ("a.csv", HEADER + row(item="1.23457e+06")),
        ("a.csv", HEADER + row(item="1e+05")),
        ("a.jsonl", jsonl("9007199254740993.0")),
        ("a.jsonl", jsonl("1.2345678901234567e18")),
        ("a.parquet", parquet(pa.array([2.0**53]))),
        ("a.parquet", parquet(pa.array([16777216.0], pa.float32()))),
        ("a.parquet", parquet(pa.array(np.array([4096], np.float16)))),
    ],
)
def test_a_number_that_has_lost_digits_is_nobodys_id(desk: Desk, name: str, data: bytes) -> None:
    desk.put("good.csv", HEADER + row())
    desk.put(name, data)
    outcome = desk.ingest()
    assert [(e["source"], e["reasons"]) for e in outcome.quarantine] == [(name, ["inexact_id"])]
    # and stays so where quarantine is checked again
    again = desk.ingest(ingest__max_text_length=300)
    assert [e["reasons"] for e in again.quarantine] == [["inexact_id"]]


@pytest.mark.parametrize("code", ["00123", "+123", "12e5", "007.0", "a.b.c", "1.5", "true", "{GUID-1}", "[new]"])
def test_codes_stay_as_they_are(desk: Desk, code: str) -> None:
    assert ids(desk, "a.csv", HEADER + row(item=code)) == [code]


def test_placeholders_are_nobody(desk: Desk) -> None:
    names = ["NA", "undefined", "(not set)", "null", "0", "u1"]
    desk.put("a.csv", HEADER + b"".join(row(user=name, session=f"s{at}") for at, name in enumerate(names)))
    assert desk.ingest().events["user_id"].null_count == 4
    nulls = {**desk.raw_params["source"]["nulls"], "user_id": ["0"]}  # type: ignore[index]
    assert desk.ingest(source__nulls=nulls).events["user_id"].null_count == 5
    names = ["none", "NONE", "nil", "Undefined", "(Not Set)", "--", f"{0:08}-0000-0000-0000-{0:012}", "Nona", "u1"]
    desk.put("a.csv", HEADER + b"".join(row(user=name, session=f"s{at}") for at, name in enumerate(names)))
    assert desk.ingest(source__nulls={"*": source.NULLS}).events["user_id"].null_count == 7
    with pytest.raises(UsageError, match=r"source\.nulls: 'user' is no canonical column"):
        desk.ingest(source__nulls={"user": ["0"]})


@pytest.mark.parametrize("value", ['[{"sku":"A"},{"sku":"B"}]', '{"sku":"A"}', "[1,2]", "[]"])
def test_structure_is_no_id(desk: Desk, value: str) -> None:
    desk.put("a.jsonl", jsonl('"A"') + jsonl(value))
    desk.put("b.parquet", parquet(pa.array([json.loads(value)])))
    quoted = f'"{value.replace(chr(34), chr(34) * 2)}"'
    desk.put("c.csv", HEADER + row(item=quoted) + row(item="i", brand=quoted))
    outcome = desk.ingest()
    assert [(e["source"], e["line"], e["reasons"]) for e in outcome.quarantine] == [
        ("a.jsonl", 2, ["not_scalar"]), ("b.parquet", 1, ["not_scalar"]), ("c.csv", 2, ["not_scalar"]),
    ]  # fmt: skip
    assert outcome.card["unread"] == {
        "brand": {"not_scalar": {"count": 1, "source": "c.csv", "line": 3, "text": shape(value)}}
    }


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_an_items_name_is_kept_or_left_empty_and_counted(desk: Desk, kind: str) -> None:
    texts = [' Tür "weiß", 3 cm ', "", "x" * 257, '["a"]', "x" * 256, "日本"]
    rows = [{"event_time": f"2026-01-05 10:00:0{at}", "event_type": "view", "user_id": "u", "item_id": "i",
             "title": text} for at, text in enumerate(texts)]  # fmt: skip
    table = pa.Table.from_pylist(rows)
    file = desk.put(f"a.{kind}", "".join(f"{json.dumps(each)}\n" for each in rows).encode())
    if kind == "csv":
        csv.write_csv(table, file)
    elif kind == "parquet":
        pq.write_table(table, file)
    outcome = desk.ingest(source__columns={"item_name": "title"})
    expected = ['Tür "weiß", 3 cm', None, None, None, "x" * 256, "日本"]
    assert outcome.events["item_name"].to_pylist() == expected
    assert {reason: seen["count"] for reason, seen in outcome.card["unread"]["item_name"].items()} == {
        "too_long": 1, "not_scalar": 1,
    }  # fmt: skip
    strict = desk.ingest(source__columns={"item_name": "title"}, ingest__bad_optional="quarantine")
    assert strict.card["reasons"] == {"too_long": 1, "not_scalar": 1}
    assert desk.ingest().events["item_name"].null_count == len(texts), "only where it is mapped, or called so"


PRICES = [
    (".", None, [], {"19.90": 19.9, "1e2": 100.0, "19,90": None, "$99.00": None, "1,299.00": None, "-1.5": -1.5,
                    "12.50-": -12.5, "2-": -2.0, "-2-": None, "1-2": None, "-": None}),
    (",", ".", ["€", "EUR"], {"1.299,00 €": 1299.0, "EUR 5": 5.0, "19,90": 19.9, "1.29,00": None, "19.90": None,
                              "-€3,5": -3.5, "€-3,5": -3.5, ",5": 0.5, "€": None, "5 €5": None,
                              "1.299,00-": -1299.0, "5,5 €-": -5.5}),
    (".", ",", ["$"], {"$1,299.00": 1299.0, "1299": 1299.0, "1,29": None, "12,345,678.9": 12345678.9, "$$1": None}),
    (",", " ", ["kr"], {"1 299,50 kr": 1299.5, "1\u202f299": 1299.0, "1\u00a0299 kr": 1299.0, "1 2": None}),
    (".", "'", [], {"1'299.50": 1299.5, "'1": None}),
]  # fmt: skip


@pytest.mark.parametrize(("decimal", "thousands", "currency", "given"), PRICES)
def test_prices_as_shops_write_them(decimal: str, thousands: str | None, currency: list[str], given: Any) -> None:
    column = amounts.plain(pa.array(list(given)), decimal, thousands, currency)
    value, known, bad = amounts.of_text(column, DUCK)
    assert (
        dict(zip(given, [v if k else None for v, k in zip(value.tolist(), known, strict=True)], strict=True)) == given
    )
    assert (known ^ bad).all()


def test_a_bad_optional_value_does_not_cost_the_event(desk: Desk, capsys: Any) -> None:
    from clickflow.events.ingest import summary

    prices = ["19,90", "$99.00", "1,299.00", "N/A", "—", "nan", "5"]
    desk.put("a.csv", HEADER + b"".join(row(item=f"i{at}", price=f'"{p}"') for at, p in enumerate(prices)))
    desk.put("b.csv", HEADER + row(item="j", quantity="1.5"))
    outcome = desk.ingest()
    assert (outcome.card["accepted"], outcome.card["quarantined"]) == (8, 0)
    assert outcome.events["price"].null_count == 7
    assert outcome.card["unread"] == {
        "price": {"bad_number": {"count": 4, "source": "a.csv", "line": 2, "text": "99,99"}},
        "quantity": {"bad_number": {"count": 1, "source": "b.csv", "line": 2, "text": "9.9"}},
    }
    text = summary(outcome.card)
    assert "price left empty in 4 events, for bad_number; such as '99,99', a.csv, line 2" in text
    assert "source.decimal" in text
    strict = desk.ingest(ingest__bad_optional="quarantine")
    assert strict.card["reasons"] == {"bad_number": 5}
    assert strict.card["unread"] == {}


def test_numbers_of_json_need_no_decimal_comma(desk: Desk) -> None:
    line = b'{"event_time":"2026-01-05","event_type":"view","user_id":"u","item_id":"%s","price":%s}\n'
    desk.put("a.jsonl", line % (b"a", b"19.5") + line % (b"b", b'"19,5"') + line % (b"c", b"1e-05"))
    outcome = desk.ingest(source__decimal=",", source__thousands=".")
    assert outcome.events["price"].to_pylist() == [19.5, 19.5, 1e-05]
    assert outcome.card["unread"] == {}


def test_currencies_beside_prices_are_counted_and_several_are_said(desk: Desk) -> None:
    texts = ["5 €", "EUR 5", "7", "$3", "US$3", "3 USD", "CA$ 9", "9 PCS", "n/a", "-£2"]
    seen = amounts.currencies(pa.array(texts), ["€"]).to_pylist()
    assert seen == ["EUR", "EUR", None, "$", "USD", "USD", "CA$", None, None, "GBP"]
    line = b'{"event_time":"2026-01-05","event_type":"view","user_id":"u","item_id":"%s","price":"%s"}\n'
    desk.put("a.jsonl", b"".join(line % (b"i%d" % at, text.encode()) for at, text in enumerate(["5 €", "6", "EUR 7"])))
    one = desk.ingest(source__currency=["€", "EUR"])
    assert (one.card["currencies"], one.events["price"].to_pylist()) == ({"EUR": 2}, [5.0, 6.0, 7.0])
    desk.put("b.jsonl", line % (b"j", b"GBP 3"))
    two = desk.ingest(source__currency=["€", "EUR"]).card
    assert two["currencies"] == {"EUR": 2, "GBP": 1}, "one that is left empty is seen too"
    (remark,) = [each for each in remarks.lines(two, desk.paths.quarantine, 1.0, b"") if "currencies" in each]
    assert "(EUR 2, GBP 1)" in remark


def test_ignored_types_are_counted_and_are_no_quarantine(desk: Desk) -> None:
    kinds = ["view", "session_start", "heartbeat", "Session_Start", "scroll", ""]
    desk.put("a.csv", HEADER + b"".join(row(kind=kind, item=f"i{at}") for at, kind in enumerate(kinds)))
    desk.put("b.csv", HEADER + row(kind="session_start", time="?", item="") + row(item="z"))
    outcome = desk.ingest(source__event_types={"session_start": "ignore"})
    assert (outcome.card["read"], outcome.card["accepted"], outcome.card["ignored"]) == (8, 2, 3)
    assert outcome.card["ignored_types"] == {"session_start": 3}
    assert outcome.card["reasons"] == {"unknown_type": 3}
    rest = desk.ingest(source__event_types={"*": "ignore"})
    assert rest.card["ignored_types"] == {"*": 6}
    assert rest.card["quarantined"] == 0


def test_ids_that_may_not_mean_what_they_seem_are_named_and_no_address_is() -> None:
    spelt, joined = [f"{n:03}" for n in range(10)], ["1|2", "3;4", "5,6,7", "8|x"]
    ids = pa.chunked_array([[str(n) for n in range(10)], spelt, joined, [f"p?mail=eve{n}@shop.org" for n in range(3)]])
    one, several, address = suspects.of_items(ids)
    assert one.startswith("item_id: 27 ids are 17 where")
    assert several.startswith("item_id: 3 ids are several other items in one, such as '1|2'")
    assert address.startswith("item_id: 3 values hold")
    assert "eve" not in address
    assert list(suspects.of_items(pa.array(["a", "b", "A|c", "5%", "R&B", '6"']))) == []
    (coded,) = suspects.of_items(pa.array(["shoe%20a", "shoe a", "b&amp;c", "b&c", "d%2Fe", "d/e"]))
    assert coded.startswith("item_id: 6 ids are 3 where")
    (quoted,) = suspects.of_items(pa.array(['"a"', "'b'", '"c"']))
    assert quoted.startswith("item_id: 3 ids stand in quotes")


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (
            ["12", "999", "1,234", "5,678,901", "3,333"],
            "3 ids are numbers whose digits stand in groups, such as '1,234'",
        ),
        (["1.234", "5.678", "3.333"], "3 ids are numbers whose digits stand in groups"),
        (["7", "12e5", "3e4", "99E2"], "3 ids are numbers with an exponent, such as '12e5', and all others whole"),
        (["u1", "u2", "u\u00ad1", "u\u200e2", "u3", "u3\u200d"], "6 ids are 3 where case, forms of letters"),
        (
            [f"https://x.example/p/{n}{end}" for n in range(9) for end in ("", "?utm_source=a", "/", "#top")],
            "36 ids are addresses of 9 pages where what follows ? and #",
        ),
        (["1,234", "1234", "5,678", "5678", "7,777", "7777"], "6 ids are 3 where case, forms of letters, groups"),
    ],
)
def test_ids_that_are_numbers_in_another_form_are_named(ids: list[str], said: str) -> None:
    assert any(said in each for each in suspects.of_items(pa.array(ids)))


@pytest.mark.parametrize(
    "ids",
    [
        ["12e5", "a7", "3e4", "99E2"],
        ["1.5", "2.25", "3.125"],
        ["1,2", "1", "2", "3,4"],
        ["/p?id=1", "/q", "/r"],
        [f"/p?id={n}" for n in range(40)],
    ],
)
def test_codes_are_not_taken_for_such_numbers(ids: list[str]) -> None:
    assert list(suspects.of_items(pa.array(ids))) == []


def test_nan_in_json_lines_is_nothing_and_costs_no_event(desk: Desk) -> None:
    """As pandas and Python's own json write it."""
    lines = [{"event_time": "2026-01-05", "event_type": "view", "user_id": "u", "item_id": f'i{n}, "x": NaN,',
              "price": price} for n, price in enumerate([float("nan"), float("inf"), 2.5])]  # fmt: skip
    desk.put("a.jsonl", "".join(f"{json.dumps(each)}\n" for each in lines).encode() + b'{"price": NaN, "item_id": }\n')
    outcome = desk.ingest()
    assert outcome.events["price"].to_pylist() == [None, None, 2.5]
    assert outcome.events["item_id"].to_pylist() == [each["item_id"] for each in lines]
    assert (outcome.card["reasons"], outcome.card["unread"]["price"]["bad_number"]["count"]) == ({"bad_json": 1}, 1)
