"""Exports of which columns that are not read say more: orders undone, rows that do not count, rows that are several
events, hours of half a day, signs behind numbers.
"""

from datetime import timedelta

from export_form import ISO, LOG, START, Export, at, plain, table

MEANINGS: dict[str, Export] = {
    "orders that were cancelled": Export(
        files={
            "orders.csv": table(
                "Name,Email,Financial Status,Created at,Lineitem quantity,Lineitem price,Lineitem sku,Cancelled at",
                f"#{{o}}|u{{u}}@shop.example|{{s}}|{ISO}|1|19.90|SKU-{{i}}|{{c}}",
                o=lambda n: 1001 + n // 2,
                s=lambda n: "" if n % 2 else ("paid", "refunded", "voided")[n // 2 % 3],
                c=lambda n: f"{at(n):%Y-%m-%d %H:%M:%S}" if n % 6 == 4 else "",
            ).encode()
        },
        source={"event_types": {"*": "purchase"}},
        says=(
            "Financial Status says of rows that nothing was sold in the end ('refunded' 10, 'voided' 10): it is",
            "Cancelled at is filled in 10 rows: it is not read",
        ),
    ),
    "rows that do not count": Export(
        files={
            "hits.csv": table(
                f"{LOG},is_bot,exclude_hit,test",
                f"{ISO}|view|u{{u}}|p{{i}}|{{b}}|{{e}}|f",
                b=lambda n: str(n % 3 == 0).lower(),
                e=lambda n: (0, 5)[n % 4 == 0],
            ).encode()
        },
        says=("is_bot marks 20 of the 60 rows: it is not read", "exclude_hit marks 15 of the 60 rows"),
    ),
    "money that was given back": Export(
        files={
            "sales.csv": table(
                f"{LOG},amount",
                f"{ISO}|purchase|u{{u}}|p{{i}}|{{a}}",
                a=lambda n: ("9.50", "-9.50", "(4.00)", "3.00-")[n % 8 % 4 if n % 8 < 4 else 0],
            ).encode()
        },
        says=("amount is below zero in 24 rows, as of what was given back: it is not read",),
    ),
    "a report of ga4 with counts": Export(
        files={
            "report.csv": (
                "# Free form 1\n# Account - Property\n"
                + table(
                    "Date + hour (YYYYMMDDHH),Event name,Item ID,Client ID,Event count",
                    "{t:%Y%m%d%H}|view_item|p{i}|{u}.17676|{c}",
                    c=lambda n: 1 + n % 5,
                )
                + ",,,,180\n"
            ).encode()
        },
        source={"time_format": "%Y%m%d%H"},
        says=("Event count says how many events a row stands for: it is not read",),
        reasons={"null_user_and_session": 1, "unknown_type": 1, "unparseable_time": 1},
    ),
    "a clock of twelve hours": Export(
        files={"log.csv": table(LOG, "{t:%d.%m.%Y %I:%M}|view|u{u}|p{i}", t=lambda n: at(n, 37)).encode()},
        says=("no hour of its times is 0 or above 12",),
    ),
    "a list of sap": Export(
        files={
            "export.csv": table(
                "Zeitstempel,Kunde,Belegnr,Materialnummer,Menge,Preis,",
                "{t:%d.%m.%Y %H:%M:%S}|{u:010}|{o:010}|{i:018}|{q}|{p}|",
                ";",
                o=lambda n: n // 3,
                q=lambda n: "2-" if n % 10 == 9 else 1,
                p=lambda n: "12,50",
            ).encode()
        },
        source={"event_types": {"*": "purchase"}, "decimal": ","},
        accepted=54,
        reasons={"negative_quantity": 6},
        first=plain(START, "purchase", "0" * 18),
    ),
    "ta-feng": Export(
        files={
            "ta_feng.csv": table(
                "TRANSACTION_DT,CUSTOMER_ID,AGE_GROUP,PRODUCT_ID,AMOUNT",
                "{d:%m/%d/%Y}|{u}|45-49|47101{i:02}|2",
                d=lambda n: START + timedelta(days=n // 2),
            ).encode()
        },
        source={"event_types": {"*": "purchase"}, "time_format": "%m/%d/%Y"},
        says=("every row is taken for a purchase, its time is TRANSACTION_DT",),
    ),
}
