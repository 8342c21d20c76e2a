"""Exports of shops' tools and public data sets by name: their files, and what must come of them."""

import gzip
import io
import json
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

ROWS = 60
START = datetime(2026, 1, 5, 9, tzinfo=UTC)


def at(n: int, minutes: int = 7) -> datetime:
    return START + timedelta(minutes=minutes * n)


def users(n: int) -> int:
    return n // 4 % 9


def items(n: int) -> int:
    return n * 7 % 11


def table(head: str, line: str, mark: str = ",", end: str = "\n", **more: Any) -> str:
    """A header and rows of a format string that knows n, u, i, t, day and more functions of n."""
    names = {"u": users, "i": items, "t": at} | more
    lines = [line.format(n=n, **{name: made(n) for name, made in names.items()}) for n in range(ROWS)]
    return end.join([*([head.replace(",", mark)] if head else []), *(each.replace("|", mark) for each in lines)]) + end


def jsonl(made: Any) -> bytes:
    return b"".join(json.dumps(made(n)).encode() + b"\n" for n in range(ROWS))


def zipped(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, data)
    return out.getvalue()


@dataclass(frozen=True, kw_only=True)
class Export:
    """Files, what `inspect --write` must leave in `source`, what it must say; and of the ingest: how many are accepted,
    the first event (time, user's or session's presence aside: type and item), reasons, or the error that stops it.
    """

    files: dict[str, bytes]
    source: dict[str, Any] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    accepted: int | None = ROWS
    first: tuple[str, str, str] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    stops: str = ""
    given: dict[str, Any] = field(default_factory=dict)
    """What a person sets in `source` after reading what inspect says."""


def plain(t: datetime, kind: str, item: str) -> tuple[str, str, str]:
    return t.strftime("%Y-%m-%d %H:%M:%S"), kind, item


ISO = "{t:%Y-%m-%d %H:%M:%S}"
LOG = "event_time,event_type,user_id,item_id"


def swap(n: int) -> str:
    """Day by day: a month and more."""
    return f"{START + timedelta(days=n):%d/%m/%Y %H:%M}"


def ids(form: str, count: int = 30) -> str:
    """A log whose users are written in a form."""
    return table(LOG, f"{ISO}|view|{form}|p{{i}}", x=lambda n: 100_000 + n % count * 7)


EXPORTS: dict[str, Export] = {
    "shopify orders": Export(
        files={
            "orders_export_1.csv": table(
                "Name,Email,Financial Status,Paid at,Created at,Lineitem quantity,Lineitem name,Lineitem price,"
                "Lineitem sku",
                "#{o}|u{u}@shop.example|{paid}|{p}|{c:%Y-%m-%d %H:%M:%S} +0100|{q}|Shirt {i}|19.90|SKU-{i:02}",
                o=lambda n: 1001 + n // 2,
                paid=lambda n: "" if n % 2 else "paid",
                p=lambda n: "" if n % 2 else f"{at(n):%Y-%m-%d %H:%M:%S} +0100",
                c=lambda n: at(n // 2 * 2),
                q=lambda n: 1 + n % 2,
            ).encode()
        },
        source={
            "event_types": {"*": "purchase"},
            "columns": {
                "event_time": "Created at",
                "user_id": "Email",
                "session_id": "Name",
                "item_id": "Lineitem sku",
                "item_name": "Lineitem name",
                "price": "Lineitem price",
                "quantity": "Lineitem quantity",
            },
        },
        first=("2026-01-05 08:00:00", "purchase", "SKU-00"),
        counts={"users": 9, "sessions": 30, "items": 11},
    ),
    "woocommerce": Export(
        files={
            "orders.csv": table(
                "Order Number,Order Status,Order Date,Customer User ID,SKU,Item Name,Quantity,Item Cost",
                f"{{o}}|completed|{ISO}|{{u}}|W-{{i}}|Name {{i}}|1|9.5",
                o=lambda n: 500 + n // 3,
            ).encode()
        },
        source={"event_types": {"*": "purchase"}},
        first=plain(START, "purchase", "W-0"),
        counts={"users": 9, "items": 11},
    ),
    "magento": Export(
        files={
            "sales.csv": table(
                '"increment_id","created_at","customer_email","sku","name","qty_ordered","price"',
                f'"{{o}}"|"{ISO}"|"u{{u}}@x.example"|"M-{{i}}"|"Mug, {{i}}"|"2.0000"|"7.5000"',
                o=lambda n: f"{n // 2:09}",
            ).encode()
        },
        first=plain(START, "purchase", "M-0"),
        counts={"users": 9, "sessions": 30},
    ),
    "matomo visits": Export(
        files={
            "visits.json": json.dumps(
                [
                    {
                        "idVisit": n,
                        "visitorId": f"{users(n):016x}",
                        "actionDetails": [
                            {"type": kind, "timestamp": int(at(n).timestamp()) + k, "productViewSku": f"p{items(n)}"}
                            for k, kind in enumerate(("action", "action"))
                        ],
                    }
                    for n in range(ROWS)
                ]
            ).encode()
        },
        source={"explode": "actionDetails", "time_format": "s"},
        given={"event_types": {"*": "view"}},
        accepted=2 * ROWS,
        counts={"sessions": ROWS, "users": 9},
    ),
    "snowplow atomic": Export(
        files={
            "part-00000.tsv": table(
                "",
                "shop|web|{t:%Y-%m-%d %H:%M:%S}.123|{t:%Y-%m-%d %H:%M:%S}.001|struct|"
                "{n:08x}-0000-4000-8000-000000000000|"
                '{u}|{{"schema":"iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-0","data":[{{"sku":"p{i}"}}]}}|'
                "product_view|u{u}|||a|b|c|d",
                "\t",
            ).encode()
        },
        says=("no column is an item",),
        stops="lacks user_id or session_id",
    ),
    "segment tracks": Export(
        files={
            "tracks.jsonl": jsonl(
                lambda n: {
                    "type": "track",
                    "userId": f"u{users(n)}",
                    "timestamp": f"{at(n):%Y-%m-%dT%H:%M:%S.000Z}",
                    **(
                        {
                            "event": "Order Completed",
                            "properties": {
                                "order_id": f"o{n}",
                                "products": [
                                    {"product_id": f"p{items(n)}", "price": 5, "quantity": 1},
                                    {"product_id": "gift", "price": 1.5, "quantity": 2},
                                ],
                            },
                        }
                        if n % 6 == 5
                        else {"event": "Product Viewed", "properties": {"product_id": f"p{items(n)}", "price": 5.0}}
                    ),
                }
            )
        },
        source={"explode": "properties.products"},
        accepted=ROWS + ROWS // 6,
        first=plain(START, "view", "p0"),
        counts={"items": 12},
    ),
    "amplitude": Export(
        files={
            "amp.json": jsonl(
                lambda n: {
                    "event_type": "Product Viewed",
                    "user_id": f"u{users(n)}",
                    "device_id": f"d{users(n)}",
                    "session_id": int(at(n // 3 * 3).timestamp() * 1000),
                    "event_time": f"{at(n):%Y-%m-%d %H:%M:%S.123000}",
                    "event_properties": {"product_id": f"p{items(n)}"},
                    "amplitude_id": 4711,
                }
            )
        },
        first=plain(START, "view", "p0"),
        counts={"users": 9, "sessions": 20},
    ),
    "mixpanel": Export(
        files={
            "mp.jsonl": jsonl(
                lambda n: {
                    "event": "Product Viewed" if n % 2 else "Session Start",
                    "properties": {
                        "time": int(at(n).timestamp()),
                        "distinct_id": f"u{users(n)}",
                        "$insert_id": f"x{n}",
                        "product_id": f"p{items(n)}",
                    },
                }
            )
        },
        source={"time_format": "s"},
        accepted=ROWS // 2,
        first=plain(at(1), "view", "p7"),
        says=("types that mean nothing here are ignored: 'Session Start'",),
    ),
    "adobe hit data": Export(
        files={"hit_data.tsv": table("", f"{{n}}|77{{u}}|{ISO}|;p{{i}};1;19.90|1,2", "\t").encode()},
        says=("has no header", "ids hold several values, such as ';p0;1;19.90'"),
        first=plain(START, "view", ";p0;1;19.90"),
    ),
    "ga4 of bigquery": Export(
        files={
            "ga4.json": jsonl(
                lambda n: {
                    "event_date": f"{at(n):%Y%m%d}",
                    "event_timestamp": str(int(at(n).timestamp() * 1e6)),
                    "event_name": "view_item" if n % 2 else "purchase",
                    "user_pseudo_id": f"{users(n)}.17",
                    "event_params": [{"key": "ga_session_id", "value": {"int_value": str(1767600000 + n // 5)}}],
                    "items": [
                        {"item_id": f"p{items(n)}", "item_name": "x", "price": 5.0, "quantity": "1"},
                        {"item_id": "q", "item_name": "y", "price": 2.0, "quantity": "1"},
                    ],
                }
            )
        },
        source={"explode": "items", "time_format": "us"},
        accepted=2 * ROWS,
        first=plain(START, "purchase", "p0"),
        counts={"users": 9, "sessions": 12},
    ),
    "instacart": Export(
        files={
            "orders.csv": table(
                "order_id,user_id,eval_set,order_number,order_dow,order_hour_of_day,days_since_prior_order",
                "{n}|{u}|prior|{k}|{k}|08|7.0",
                k=lambda n: n % 4,
            ).encode()
        },
        says=("no column is a time that can be read",),
        stops="lacks event_time",
    ),
    "dunnhumby": Export(
        files={
            "transaction_data.csv": table(
                "household_key,BASKET_ID,DAY,PRODUCT_ID,QUANTITY,SALES_VALUE,STORE_ID,RETAIL_DISC,TRANS_TIME,WEEK_NO",
                "{u}|{b}|{n}|{i}|1|1.39|364|-0.6|1631|1",
                b=lambda n: 26984851472 + n // 3,
            ).encode()
        },
        says=("no column is a time that can be read",),
        stops="lacks event_time",
    ),
    "diginetica": Export(
        files={
            "train-item-views.csv": table(
                "sessionId,userId,itemId,timeframe,eventdate",
                "{s}|NA|{i}|{n}000|{d:%Y-%m-%d}",
                ";",
                s=lambda n: n // 4,
                d=lambda n: START + timedelta(days=n // 4),
            ).encode()
        },
        source={"delimiter": ";"},
        says=("its times are dates alone", "order: timeframe may order"),
        first=("2026-01-05 00:00:00", "view", "0"),
        counts={"users": 0, "sessions": 15},
    ),
    "movielens": Export(
        files={
            "ratings.dat": table(
                "", "{u}::{i}::{r}::{s}", r=lambda n: 1 + n % 5, s=lambda n: 978300760 + 60 * n
            ).encode()
        },
        source={"delimiter": "::", "header": [], "time_format": "s"},
        first=("2000-12-31 22:12:40", "view", "0"),
        counts={"users": 9, "items": 11},
        says=("has no header",),
    ),
    "two bars": Export(
        files={"log.txt": table(LOG, f"{ISO}|view|u{{u}}|p{{i}}", "||").encode()},
        source={"delimiter": "||"},
        first=plain(START, "view", "p0"),
    ),
    "amazon reviews": Export(
        files={
            "reviews.json": jsonl(
                lambda n: {
                    "reviewerID": f"A{users(n)}",
                    "asin": f"{items(n):010}",
                    "overall": 5.0,
                    "verified": True,
                    "reviewTime": "09 13, 2009",
                    "unixReviewTime": 1252800000 + 86400 * n,
                }
            )
        },
        source={"time_format": "s"},
        first=("2009-09-13 00:00:00", "view", "0000000000"),
        counts={"users": 9, "items": 11},
    ),
    "steam": Export(
        files={
            "steam-200k.csv": table(
                "",
                '{u}|"The Elder Scrolls {i}"|{k}|{h}|0',
                k=lambda n: ("purchase", "play")[n % 2],
                h=lambda n: 1.0 + n % 40,
            ).encode()
        },
        says=("no column is a time that can be read",),
        stops="lacks event_time",
    ),
    "last.fm": Export(
        files={
            "userid-timestamp-artid-artname-traid-traname.tsv": table(
                "", 'user_{u:06}|{t:%Y-%m-%dT%H:%M:%SZ}|a{i}|Artist {i}|t{i}|Title "{i}"', "\t"
            ).encode()
        },
        source={"header": []},
        says=("has no header",),
        first=plain(START, "view", "a0"),
        counts={"users": 9},
    ),
    "german excel": Export(
        files={
            "export.csv": (
                "sep=;\r\n"
                + table(
                    "Datum,Aktion,Kunde,Artikel,Bezeichnung,Preis",
                    "{t:%d.%m.%Y %H:%M}|Kauf|{u}|00{i:02}|Stück {i}|1.019,90",
                    ";",
                    "\r\n",
                )
            ).encode("cp1252")
        },
        source={"delimiter": ";", "encoding": "cp1252", "decimal": ",", "thousands": "."},
        first=plain(START, "purchase", "0000"),
    ),
    "excel's unicode text": Export(
        files={"Book1.txt": table(LOG, f"{ISO}|view|Zoë{{u}}|p{{i}}", "\t", "\r\n").encode("utf-16")},
        source={"encoding": "utf-16", "format": "tsv"},
        first=plain(START, "view", "p0"),
    ),
    "a byte order mark and sep=": Export(
        files={"log.csv": ("sep=|\n" + table(LOG, f"{ISO}|view|u{{u}}|p{{i}}", "|")).encode("utf-8-sig")},
        source={"delimiter": "|"},
        first=plain(START, "view", "p0"),
    ),
    "remarks above": Export(
        files={
            "ga.csv": (
                "# ----------------------------------------\n# Shop - all\n# 20260101-20260131\n"
                "# ----------------------------------------\n\n" + table(LOG, f"{ISO}|view|u{{u}}|p{{i}}")
            ).encode()
        },
        says=("5 lines above its columns begin with # and are passed over",),
        first=plain(START, "view", "p0"),
    ),
    "a remark names the columns": Export(
        files={
            "events.tsv": (
                "# exported by nightly\n#Fields: user_id\titem_id\ttimestamp\n"
                + table("", "{u}|{i}|{s}", "\t", s=lambda n: int(at(n).timestamp()))
            ).encode()
        },
        source={"time_format": "s"},
        first=plain(START, "view", "0"),
    ),
    "a sign before the first name": Export(
        files={"log.csv": ("#" + table("user_id,event_time,item_id", f"u{{u}}|{ISO}|p{{i}}")).encode()},
        first=plain(START, "view", "p0"),
        counts={"users": 9},
    ),
    "a spreadsheet's days": Export(
        files={
            "export.csv": table(
                "Zeit,Kunde,Artikel,Preis",
                "{x}|{u}|A{i}|1,5",
                ";",
                x=lambda n: f"{46027 + (540 + 7 * n) / 1440:.10f}".replace(".", ","),
            ).encode()
        },
        source={"time_format": "excel", "decimal": ","},
        first=plain(START, "view", "A0"),
        says=("days since 1899-12-30",),
    ),
    "days before months": Export(
        files={"log.csv": table(LOG, "{d}|view|u{u}|p{i}", d=swap).encode()},
        source={"time_format": "%d/%m/%Y %H:%M"},
        first=plain(START, "view", "p0"),
    ),
    "days that could be months": Export(
        files={"log.csv": table(LOG, "0{k}/02/2026 10:00|view|u{u}|p{i}", k=lambda n: 1 + n % 9).encode()},
        says=("day and month",),
        source={"time_format": "%d/%m/%Y %H:%M"},
    ),
    "one file of days before months, one of months before days": Export(
        files={
            "de.csv": table(LOG, "{d}|view|u{u}|p{i}", d=swap).encode(),
            "us.csv": table(
                LOG, "{d:%m/%d/%Y %H:%M}|view|u{u}|p{i}", d=lambda n: START + timedelta(days=n, hours=1)
            ).encode(),
        },
        accepted=2 * ROWS,
        source={"time_format": "%m/%d/%Y %H:%M", "time_formats": {"de.csv": "%d/%m/%Y %H:%M"}},
        first=plain(START, "view", "p0"),
    ),
    "newest day alone could be either": Export(
        files={
            f"2026{month:02}{day:02}.csv": table(
                LOG, f"{month:02}/{day:02}/2026 10:{{n:02}}|view|u{{u}}|p{{i}}"
            ).encode()
            for month, day in ((1, 5), (1, 30), (2, 3))
        },
        accepted=3 * ROWS,
        source={"time_format": "%m/%d/%Y %H:%M"},
        first=("2026-01-05 10:00:00", "view", "p0"),
    ),
    "both orders in one file": Export(
        files={
            "log.csv": table(
                LOG,
                "{d}|view|u{u}|p{i}",
                d=lambda n: swap(n) if n % 4 else f"{START + timedelta(days=n):%m/%d/%Y %H:%M}",
            ).encode()
        },
        says=("may be read as other days",),
        stops="day and month have changed places",
    ),
    "a key twice": Export(
        files={
            "log.jsonl": b"".join(
                (
                    f'{{"event_time":"{at(n):%Y-%m-%dT%H:%M:%S}","event_type":"view","user_id":"u{users(n)}",'
                    f'"item_id":"p{items(n)}"'
                    + (',"item_id":"other"' if n == 5 else "")
                    + (',"item_id" : "p8"' if n == 6 else "")
                    + (f',"item_id":"p{items(n)}"' if n == 7 else "")
                    + (',"note":"a\\":b","note":"c"' if n == 8 else "")
                    + "}\n"
                ).encode()
                for n in range(ROWS)
            )
        },
        accepted=ROWS - 2,
        reasons={"double_key": 2},
        first=plain(START, "view", "p0"),
        says=("double_key 2",),
    ),
    "seconds among milliseconds": Export(
        files={
            "log.csv": table(
                LOG, "{s}|view|u{u}|p{i}", s=lambda n: int(at(n).timestamp()) * (1 if n % 20 == 7 else 1000)
            ).encode()
        },
        says=("are not of that form",),
        stops="as s they would be of our days, they were read as ms",
    ),
    "milliseconds and microseconds among seconds": Export(
        files={
            "log.csv": table(
                LOG,
                "{s}|view|u{u}|p{i}",
                s=lambda n: int(at(n).timestamp()) * {7: 1000, 9: 1_000_000}.get(n % 40, 1),
            ).encode()
        },
        accepted=ROWS - 4,
        reasons={"unparseable_time": 4},
        says=("are not of that form",),
    ),
    "clocks put back": Export(
        files={
            "log.csv": table(
                LOG,
                "{x:%Y-%m-%d %H:%M}|view|u{u}|p{i}",
                x=lambda n: datetime(2025, 10, 26, 1, tzinfo=UTC) + timedelta(minutes=3 * n),
            ).encode()
        },
        given={"timezone": "Europe/Berlin"},
        says=("carry no zone: they are read as UTC",),
        accepted=40,
        reasons={"ambiguous_time": 20},
        first=("2025-10-25 23:00:00", "view", "p0"),
    ),
    "line ends in quotes": Export(
        files={"log.csv": table(f"{LOG},note", f'{ISO}|view|u{{u}}|p{{i}}|"a\r\nb ""{{n}}"", c"').encode()},
        first=plain(START, "view", "p0"),
    ),
    "gzip in zip": Export(
        files={"log.csv.gz.zip": zipped("log.csv.gz", gzip.compress(ids("u{u}").encode()))},
        first=plain(START, "view", "p0"),
        counts={"users": 9},
    ),
    "packed twice": Export(
        files={"log.csv.gz": gzip.compress(gzip.compress(ids("u{u}").encode()))},
        first=plain(START, "view", "p0"),
    ),
    "several items in a cell": Export(
        files={
            "log.csv": table(
                LOG, f"{ISO}|view|u{{u}}|{{x}}", ";", x=lambda n: f"p{n % 5},p{n % 4}" if n % 9 == 0 else f"p{n % 5}"
            ).encode()
        },
        says=("ids are several other items in one",),
        first=plain(START, "view", "p0,p0"),
    ),
    "refunds": Export(
        files={
            "orders.csv": table(
                "order_date,customer_no,order_no,article_no,pieces,unit_price",
                f"{ISO}|{{u}}|{{n}}|A{{i}}|{{q}}|5.0",
                q=lambda n: -1 if n % 10 == 9 else 2,
            ).encode()
        },
        accepted=ROWS - 6,
        reasons={"negative_quantity": 6},
        says=("negative_quantity 6",),
    ),
    "zeros lost in one file": Export(
        files={
            "1.csv": table(LOG, f"{ISO}|view|u{{u}}|000{{i}}").encode(),
            "2.csv": table(LOG, "{t:%Y-%m-%d %H:%M:%S}|view|u{u}|{i}", t=lambda n: at(n + 90)).encode(),
        },
        accepted=2 * ROWS,
        says=("zeros in front do not count",),
    ),
    "ids kept as texts for a spreadsheet": Export(
        files={
            "1.csv": table(LOG, f'{ISO}|view|u{{u}}|="00{{i}}"').encode(),
            "2.csv": table(LOG, "{t:%Y-%m-%d %H:%M:%S}|view|u{u}|00{i}", t=lambda n: at(n + 90)).encode(),
        },
        accepted=2 * ROWS,
        says=("quotes and zeros in front do not count", "ids stand in quotes"),
    ),
    "a zone in a column of its own": Export(
        files={"log.csv": table(f"{LOG},tz", f"{ISO}|view|u{{u}}|p{{i}}|Europe/Paris").encode()},
        says=("the zone of its times stands in tz (Europe/Paris), which is not read",),
    ),
    "ids in several forms": Export(
        files={
            "log.csv": table(
                LOG, f"{ISO}|view|{{x}}|p{{i}}", x=lambda n: ("Müller", "Mu\u0308ller", "MÜLLER")[n % 3] + str(n % 7)
            ).encode()
        },
        says=("case, forms of letters",),
        first=plain(START, "view", "p0"),
    ),
    "ids shown by a spreadsheet": Export(
        files={
            "log.csv": table(LOG, f"{ISO}|view|{{x}}|p{{i}}", x=lambda n: f"{1.0 + n % 30 / 1000:.5f}E+11").encode()
        },
        accepted=None,
        says=("inexact_id 60",),
        stops="inexact_id 60",
    ),
    "ids shown by a spreadsheet with decimal commas": Export(
        files={
            "log.csv": table(
                LOG,
                f"{ISO}|view|u{{u}}|{{x}}",
                ";",
                x=lambda n: f"{1.0 + n % 30 / 1000:.5f}E+11".replace(".", ",") if n % 10 == 0 else f"p{n % 7}",
            ).encode()
        },
        accepted=ROWS - 6,
        reasons={"inexact_id": 6},
        says=("inexact_id 6",),
    ),
    "such ids in JSON": Export(
        files={
            "log.jsonl": b"".join(
                f'{{"event_time":"{at(n):%Y-%m-%dT%H:%M:%S}","event_type":"view","user_id":"u{users(n)}","item_id":'
                f"{'1.23457E+11' if n % 6 == 0 else items(n)}}}\n".encode()
                for n in range(ROWS)
            )
        },
        accepted=ROWS - 10,
        reasons={"inexact_id": 10},
    ),
    "ids of which a spreadsheet kept fifteen digits": Export(
        files={"log.csv": ids("123456789{x}0").encode()},
        says=("different ones have become one",),
        stops="different ones have become one",
    ),
    "ids of which JavaScript kept seventeen digits": Export(
        files={"log.csv": ids("12345678901{x}00").encode()},
        stops="different ones have become one",
    ),
    "nanoseconds as ids, of a clock of microseconds": Export(
        files={"log.csv": ids("1767600000{x}000").encode()},
        counts={"users": 30},
    ),
    "such ids written again by pandas": Export(
        files={"log.csv": ids("{x}000000.0").replace("100000000000.0", "100011000000.0").encode()},
        says=("different ones have become one",),
        stops="different ones have become one",
    ),
    "long ids as they are": Export(
        files={
            "log.csv": table(
                f"{LOG},session_id",
                f"{ISO}|view|{{x}}|p{{i}}|{{s}}",
                x=lambda n: 1767600000000000000 + n % 30 * 7919,
                s=lambda n: int(at(n // 2).timestamp()) * 1_000_000,
            ).encode()
        },
        first=plain(START, "view", "p0"),
        counts={"users": 30, "sessions": 30},
    ),
    "a spreadsheet's errors": Export(
        files={
            "log.csv": table(
                LOG, f"{ISO}|view|u{{u}}|{{x}}", x=lambda n: "#NAME?" if n % 20 == 3 else f"p{n % 7}"
            ).encode()
        },
        accepted=ROWS - 3,
        reasons={"null_item": 3},
        says=("null_item 3",),
    ),
    "articles that became dates": Export(
        files={
            "log.csv": table(
                LOG, f"{ISO}|view|u{{u}}|{{x}}", x=lambda n: f"{1 + n % 9}-Mar" if n % 5 == 0 else f"MAR{n}"
            ).encode()
        },
        says=("look like dates that a spreadsheet made of them",),
    ),
}
