"""Exports of shops' tools, and public data sets."""

import json
from datetime import timedelta

from export_form import ISO, LOG, ROWS, START, Export, at, items, jsonl, plain, table, users

TOOLS: dict[str, Export] = {
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
}
