"""The canonical event: what every source becomes, and what every later room reads.

Events lie in `data/events/day=YYYY-MM-DD/events.parquet`, in UTC; `day` stands in the folder's name alone. They are
sorted by time, session (lone users first, by their ids), and, within one session or lone user at one instant, by
`order` (nulls first) and then as the source has them: by file and row. Whatever cannot become such a row goes to
quarantine with one or more of the `REASONS`.
"""

import pyarrow as pa

VERSION = 4
"""Raised whenever the same raw bytes would give other canonical rows; older outputs are then rebuilt."""

EVENT_TYPES = ("view", "cart", "favourite", "remove", "purchase", "cancel", "search", "impression", "click")
"""The kinds of events. The order is fixed: the index is the action code of the packed store and of the models."""

NEEDS_ITEM = ("view", "cart", "favourite", "remove", "purchase", "cancel")
"""Types that mean nothing without an item; a search, an impression or a click may be without."""

SCHEMA = pa.schema(
    [
        ("event_time", pa.timestamp("us", tz="UTC")),
        ("event_type", pa.string()),
        ("user_id", pa.string()),
        ("session_id", pa.string()),
        ("item_id", pa.string()),
        ("category", pa.string()),
        ("brand", pa.string()),
        ("price", pa.float64()),
        ("quantity", pa.int64()),
        ("campaign", pa.string()),
        ("order", pa.int64()),
        ("item_name", pa.string()),
        ("country", pa.string()),
        ("device", pa.string()),
    ]
)

IDENTITIES = ("user_id", "session_id", "item_id", "category", "brand", "campaign", "item_name", "country", "device")
"""Columns whose values are compared, never reckoned with."""

GROUPS = ("country", "device")
"""Columns that say of what group of people somebody is: no model reads them, evaluations are told apart by them."""

COLUMNS: tuple[str, ...] = tuple(SCHEMA.names)

BY_NAME: tuple[str, ...] = tuple(name for name in COLUMNS if name != "order")
"""Columns that are taken from a file that calls them so, unless a layout says otherwise; `order` is not among them,
because a column of that name is more often the number of a purchase.
"""

REASONS = {
    "truncated": "the last row of the file has too few columns: it was cut off",
    "wrong_columns": "the row has more or fewer columns than the file",
    "bad_quotes": "a quoted field does not end within the next lines",
    "bad_json": "the line is not a JSON object, or holds more than 2^20 events",
    "double_key": "the JSON object has a key twice, with two values, that the event would be made of",
    "broken_encoding": "the row is not UTF-8, or holds a NUL",
    "not_scalar": "a list or an object stands where one value is due",
    "inexact_id": "an id is a number that has lost digits: 2^53 or more as a floating number, or rounded (1.23457e+06)",
    "unparseable_time": "no time, not one of the given format, or before 1970",
    "ambiguous_time": "the clock of source.timezone, or of the zone that the time names (`Europe/Berlin`), shows this "
    "time twice: it is put back there; or its zone is letters of several zones (BST, CST, IST), or of winter's time in "
    "summer (CET, PST)",
    "nonexistent_time": "that clock never shows this time: it is put forward there",
    "future_time": "later than source.as_of (or the clock) and the tolerance",
    "unknown_type": "the event type is missing, or neither canonical nor mapped by source.event_types",
    "null_item": "the type needs an item and there is none",
    "null_user_and_session": "neither a user nor a session: the event belongs to nobody",
    "null_user": "no user, and ingest.require_user asks for one",
    "bad_number": "price or quantity is not a finite number, or the quantity is not whole",
    "bad_order": "the order within an instant is not a whole number of 64 bits",
    "negative_price": "the price is below zero",
    "negative_quantity": "the quantity is below zero",
    "zero_quantity": "the quantity is zero",
    "too_long": "a text is longer than ingest.max_text_length bytes; of an item's name, by ingest.bad_optional",
    "duplicate": "every canonical column equals that of an earlier row, by source and line",
}
"""Why a row is in quarantine: code and meaning. A row can have several."""
