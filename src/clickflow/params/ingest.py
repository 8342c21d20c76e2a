"""Section `ingest` of params.yaml: how raw rows are checked."""

from dataclasses import dataclass
from typing import Annotated, Literal

from clickflow.params.meta import Meta


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """How raw rows are checked."""

    memory_gb: Annotated[float, Meta("memory of the engine, which spills to disk beyond it", "GB", gt=0)] = 2.0
    future_tolerance_minutes: Annotated[
        float, Meta("rows later than source.as_of by more are quarantined", "minutes")
    ] = 5.0
    max_text_length: Annotated[
        int, Meta("a longer text is quarantined; of an item's name, by bad_optional", "bytes")
    ] = 256
    bad_optional: Annotated[
        Literal["empty", "quarantine"],
        Meta(
            "price, quantity, category, brand, campaign, item name, country or device that cannot be read: empty "
            "(counted)"
        ),
    ] = "empty"
    duplicates: Annotated[
        Literal["quarantine", "keep"],
        Meta("exact repeats of a row; keep: each is an event (an order line repeated is two pieces)"),
    ] = "quarantine"
    missing_sources: Annotated[
        Literal["stop", "drop"], Meta("a file that was taken in and is gone; drop: its events go too")
    ] = "stop"
    require_user: Annotated[
        bool, Meta("true: rows without a customer are quarantined; false: kept as guests if a session is given")
    ] = False
    max_file_quarantine_share: Annotated[
        float,
        Meta("of one file's rows: above it the file is named, and validate warns; repeats do not count", "share"),
    ] = 0.5
    encrypt: Annotated[
        tuple[Literal["quarantine"], ...],
        Meta("[quarantine]: its raw rows can be read with the key of the pseudonyms alone"),
    ] = ()
