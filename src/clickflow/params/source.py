"""Section `source` of params.yaml: where the log comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Preset = Literal["rees46", "taobao", "retailrocket", "yoochoose", "otto", "uci_retail", "recbole", "hm", "session_tsv"]
Format = Literal["csv", "tsv", "jsonl", "parquet"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the log comes from."""

    kind: Literal["simulator", "files", "sql"]
    path: str
    pattern: str
    preset: Preset | None
    format: Format | None
    delimiter: str | None
    encoding: str
    header: tuple[str, ...] | None
    columns: Mapping[str, str]
    explode: str | None
    event_types: Mapping[str, str]
    decimal: Literal[".", ","]
    thousands: str | None
    currency: tuple[str, ...]
    nulls: Mapping[str, tuple[str, ...]]
    time_format: str | None
    timezone: str
    sql_url_env: str
    sql_query: str | None
    as_of: datetime | None
