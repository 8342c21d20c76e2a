"""Exports that a spreadsheet, a person or a packer has changed: forms, times, several files."""

import gzip
from datetime import UTC, datetime, timedelta

from export_form import ISO, LOG, ROWS, START, Export, at, ids, items, plain, swap, table, users, zipped

SPREADSHEETS: dict[str, Export] = {
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
}
