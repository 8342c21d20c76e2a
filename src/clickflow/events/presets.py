"""Layouts of public shop logs. A preset is data; values in params.yaml take precedence."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch

from clickflow.events.contract import COLUMNS, EVENT_TYPES
from clickflow.params.source import Source
from clickflow.system.errors import UsageError, nearest

EVERY = "*"
"""The key of `nulls` for every column."""

IGNORE = "ignore"
"""What `event_types` maps a type to whose rows are counted and left out."""

ANY_TYPE = "*"
"""The key of `event_types` for every type that is not listed, and for rows without one."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the rows of one kind of file become canonical columns."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Canonical column: column of the file."""
    event_types: Mapping[str, str] = field(default_factory=dict)
    """Type in the file: canonical type."""
    format: str | None = None
    """csv, tsv, jsonl or parquet; None: by the file's name."""
    delimiter: str | None = None
    """One character; None: by the format."""
    header: tuple[str, ...] | None = None
    """The columns of a file that does not name them, none: "1", "2", …; None: its first line does."""
    encoding: str = "utf-8"
    """Of the text."""
    time_format: str | None = None
    """A strptime pattern, s, ms, us, excel or order; None: ISO 8601."""
    cancel_prefix: str = ""
    """Rows whose session begins so are cancellations, written with negative quantities."""
    decimal: str = "."
    """The mark in prices and quantities that are text."""
    nested: str = ""
    """The field that holds a list whose elements are events (JSON lines, Parquet); a path as in `columns`."""
    identity: bool = False
    """Columns that are called as the canonical ones are taken without being listed."""
    files: str = "*"
    """The names of files that have this layout."""


PRESETS: Mapping[str, tuple[Layout, ...]] = {
    "rees46": (
        Layout(
            format="csv",
            columns={
                "event_time": "event_time",
                "event_type": "event_type",
                "user_id": "user_id",
                "session_id": "user_session",
                "item_id": "product_id",
                "category": "category_code",
                "brand": "brand",
                "price": "price",
            },
            event_types={"remove_from_cart": "remove"},
        ),
    ),
    "taobao": (
        Layout(
            format="csv",
            header=("user", "item", "category", "behaviour", "time"),
            columns={
                "event_time": "time",
                "event_type": "behaviour",
                "user_id": "user",
                "item_id": "item",
                "category": "category",
            },
            event_types={"pv": "view", "cart": "cart", "fav": "favourite", "buy": "purchase"},
            time_format="s",
        ),
    ),
    "retailrocket": (
        Layout(
            format="csv",
            columns={
                "event_time": "timestamp",
                "event_type": "event",
                "user_id": "visitorid",
                "item_id": "itemid",
            },
            event_types={"view": "view", "addtocart": "cart", "transaction": "purchase"},
            time_format="ms",
        ),
    ),
    "yoochoose": (
        Layout(
            files="*buys*",
            format="csv",
            header=("session", "time", "item", "price", "quantity"),
            columns={
                "event_time": "time",
                "session_id": "session",
                "item_id": "item",
                "price": "price",
                "quantity": "quantity",
            },
            event_types={ANY_TYPE: "purchase"},
        ),
        Layout(
            format="csv",
            header=("session", "time", "item", "category"),
            columns={"event_time": "time", "session_id": "session", "item_id": "item", "category": "category"},
            event_types={ANY_TYPE: "view"},
        ),
    ),
    "otto": (
        Layout(
            format="jsonl",
            nested="events",
            columns={"event_time": "ts", "event_type": "type", "session_id": "session", "item_id": "aid"},
            event_types={"clicks": "view", "carts": "cart", "orders": "purchase"},
            time_format="ms",
        ),
    ),
    "uci_retail": (
        Layout(
            format="csv",
            columns={
                "event_time": "InvoiceDate",
                "user_id": "CustomerID",
                "session_id": "InvoiceNo",
                "item_id": "StockCode",
                "item_name": "Description",
                "country": "Country",
                "price": "UnitPrice",
                "quantity": "Quantity",
            },
            event_types={ANY_TYPE: "purchase"},
            cancel_prefix="C",
        ),
    ),
    "recbole": (
        Layout(
            format="tsv",
            columns={"event_time": "timestamp", "user_id": "user_id", "item_id": "item_id"},
            event_types={ANY_TYPE: "view"},
            time_format="s",
        ),
    ),
    "hm": (
        Layout(
            format="csv",
            columns={"event_time": "t_dat", "user_id": "customer_id", "item_id": "article_id", "price": "price"},
            event_types={ANY_TYPE: "purchase"},
        ),
    ),
    "session_tsv": (
        Layout(
            format="tsv",
            columns={"event_time": "Time", "session_id": "SessionId", "item_id": "ItemId"},
            event_types={ANY_TYPE: "view"},
            time_format="s",
        ),
    ),
}


def layout_of(source: Source, name: str) -> Layout:
    """The layout of the file `name`: the preset's, with what `source` says laid over it.

    Raises UsageError where `source.columns`, `source.nulls` or `source.event_types` names a column or type that is not
    canonical.
    """
    _known("source.columns", source.columns, COLUMNS, "canonical column")
    _known("source.nulls", (name for name in source.nulls if name != EVERY), COLUMNS, "canonical column")
    _known("source.event_types", source.event_types.values(), (*EVENT_TYPES, IGNORE), "canonical event type")
    chosen = Layout(identity=True)
    if source.preset is not None:
        chosen = next(
            (layout for layout in PRESETS[source.preset] if fnmatch(name.rsplit("/", 1)[-1].lower(), layout.files)),
            PRESETS[source.preset][-1],
        )
    return replace(
        chosen,
        columns={**chosen.columns, **source.columns},
        event_types={**chosen.event_types, **source.event_types},
        format=source.format or chosen.format,
        delimiter=source.delimiter or chosen.delimiter,
        header=chosen.header if source.header is None else source.header,
        encoding=source.encoding,
        time_format=next(
            (form for pattern, form in source.time_formats.items() if fnmatch(name, pattern)),
            source.time_format or chosen.time_format,
        ),
        decimal=source.decimal,
        nested=source.explode or chosen.nested,
    )


def _known(where: str, names: object, known: tuple[str, ...], what: str) -> None:
    for name in names:  # type: ignore[attr-defined]
        if name not in known:
            raise UsageError(
                f"{where}: {name!r} is no {what}{nearest(str(name), known)}",
                kept="nothing was read, the outputs are as they were",
                next_step=f"use one of {', '.join(known)}",
            )
