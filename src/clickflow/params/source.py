"""Section `source` of params.yaml: where the log comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal

from clickflow.params.meta import Meta

Preset = Literal["rees46", "taobao", "retailrocket", "yoochoose", "otto", "uci_retail", "recbole", "hm", "session_tsv"]
Format = Literal["csv", "tsv", "jsonl", "parquet"]
NULLS = (
    *("null", "NULL", "Null", "None", "\\N", "nan", "NaN", "NaT", "<NA>", "NA", "N/A", "n/a", "#N/A"),
    *("#NAME?", "#REF!", "#VALUE!", "#NULL!", "#NUM!", "#DIV/0!"),
    *("undefined", "(not set)", "(none)", "(null)", "-", "—"),
    *("none", "NONE", "nil", "Undefined", "UNDEFINED", "(Not Set)", "--", "–"),
    "00000000-0000-0000-0000-000000000000",
)
"""Texts that stand for nothing in most logs."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the log comes from."""

    kind: Annotated[Literal["simulator", "files", "sql"], Meta("a simulated shop, files, or a table of a database")] = (
        "simulator"
    )
    path: Annotated[str, Meta("files: a file or folder, relative to the repository or absolute", le=4095)]
    pattern: Annotated[str, Meta("files: which ones in the folder")] = "**/*"
    preset: Annotated[Preset | None, Meta("a known layout; what is set beside it counts more")] = None
    format: Annotated[Format | None, Meta("null: by the file's name")] = None
    delimiter: Annotated[
        str | None,
        Meta(
            'such as ";" or "::"; null: a comma for csv, a tab for tsv, what a line sep=; says, or as the preset has it'
        ),
    ] = None
    encoding: Annotated[str, Meta("of text: utf-8, cp1252, latin-1, utf-16, gb18030 …")] = "utf-8"
    header: Annotated[
        tuple[str, ...] | None,
        Meta(
            'null: the first line names the columns; [user, item, …]: none does, these are they; []: none, "1", "2"',
            most=10_000,
        ),
    ] = None
    columns: Annotated[
        Mapping[str, str],
        Meta("canonical column: column of the file, or a path: user.id, items.sku, event_params[page]"),
    ] = field(default_factory=dict)
    explode: Annotated[
        str | None,
        Meta("the list whose elements are events of their own, such as items; a path as in columns; null: none"),
    ] = None
    event_types: Annotated[
        Mapping[str, str],
        Meta('type in the file: canonical type, or ignore; "*": every other type, and rows without one'),
    ] = field(default_factory=dict)
    decimal: Annotated[Literal[".", ","], Meta("of prices and quantities")] = "."
    thousands: Annotated[str | None, Meta('what groups their digits, such as "," in 1,299.00; null: nothing does')] = (
        None
    )
    currency: Annotated[
        tuple[str, ...],
        Meta('what may stand before or after a price, such as ["€", EUR]; one currency, it is not converted'),
    ] = ()
    nulls: Annotated[
        Mapping[str, tuple[str, ...]],
        Meta('texts that stand for nothing: in every column ("*"), or in one, such as user_id: ["0"]'),
    ] = field(default_factory=lambda: {"*": NULLS})
    time_format: Annotated[
        str | None,
        Meta(
            "strptime pattern, s | ms | us (since 1970), excel (days since 1899-12-30), order (no clock: "
            "docs/reference/events.md); null: ISO 8601"
        ),
    ] = None
    time_formats: Annotated[
        Mapping[str, str],
        Meta('of files whose times are written otherwise: {"us/*.csv": "%m/%d/%Y"}, by pattern of their names'),
    ] = field(default_factory=dict)
    newest_first: Annotated[
        bool,
        Meta(
            "files: they begin with the newest events, so that those of one instant are in the reverse of their order"
        ),
    ] = False
    timezone: Annotated[str, Meta("of times that carry none")] = "UTC"
    sql_url_env: Annotated[str, Meta("sql: the environment variable that holds the connection URL")] = (
        "CLICKFLOW_SQL_URL"
    )
    sql_query: Annotated[str | None, Meta("sql: a table's name or a SELECT", le=100_000)] = None
    as_of: Annotated[datetime | None, Meta('"now" for the check of future times, ISO 8601; null: the clock')] = None
