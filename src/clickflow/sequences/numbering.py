"""The events of the window, with numbers for who and what."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from clickflow.events.contract import GROUPS
from clickflow.params.sequences import Sequences
from clickflow.sequences import engine
from clickflow.system.errors import DataError

FOREVER = 1 << 62
KEPT = "the store made before, if there was one"
OPTIONAL = ("order", "item_name", *GROUPS)
"""Columns that many a log has not: nothing more is asked of those that are null everywhere."""


@dataclass(frozen=True)
class Numbered:
    """The events as Ibis tables, with numbers for who and what; `item_ids`, `paths` and `brand_names` are
    Arrow arrays by number.
    """

    table: Any
    actors: Any
    """`engine.Actors`; None where nobody is asked for."""
    items: Any
    categories: Any
    brands: Any
    item_ids: Any
    paths: Any
    brand_names: Any
    events: int
    """All that were read; those outside the window are in no table."""
    outside: int
    of_nobody: int
    first: int
    """When the first event of the window was, microseconds since 1970 UTC."""
    stop: int
    """The end of what is known of the log: after its last event, or where the window ends before that."""
    ordered: bool
    """Whether the source gives an order within an instant."""
    said: frozenset[str]
    """Which of `OPTIONAL` are there in an event of the window."""


def number(
    connection: Any, events: Path, settings: Sequences, *, by_person: bool = False, with_actors: bool = True
) -> Numbered:
    """The canonical events below `events` within the window of the params; `by_person`: see `units.unit.Unit`;
    not `with_actors`: nobody is numbered.

    Raises DataError where none lies in the window.
    """
    whole = engine.read_events(connection, events)
    inside = engine.within(whole, *settings.window)
    nobody = whole.user_id.isnull() & (whole.session_id.isnull() | by_person)
    facts = engine.facts(
        connection,
        whole,
        read=whole.count(),
        inside=whole.count(where=inside),
        of_nobody=whole.count(where=inside & nobody),
        first=whole.event_time.min(where=inside),
        last=whole.event_time.max(),
        **{name: whole[name].count(where=inside) for name in OPTIONAL},
    )
    read = facts["read"]
    if not facts["inside"]:
        since, until = settings.window
        raise DataError(
            f"none of {read:,} events lies in the window from {since or 'the first'} to {until or 'the last'}",
            kept=KEPT,
            next_step="change sequences.since and sequences.until in params.yaml, or ingest the days they name",
        )
    table = whole if settings.window == (None, None) else whole.filter(inside)
    if by_person:
        table = engine.without_sessions(table)
    items, categories = engine.number_items(connection, table), engine.number_categories(connection, table)
    brands = engine.number_brands(connection, table)
    return Numbered(
        table=table,
        actors=engine.number_actors(connection, table) if with_actors else None,
        items=items,
        categories=categories,
        brands=brands,
        item_ids=items.order_by("item").item_id.to_pyarrow(),
        paths=categories.order_by("code").category.to_pyarrow(),
        brand_names=brands.order_by("brand_code").brand.to_pyarrow(),
        events=read,
        outside=read - facts["inside"],
        of_nobody=facts["of_nobody"],
        first=_microseconds(facts["first"]),
        stop=min(_microseconds(facts["last"]) + 1, _until(settings)),
        ordered=facts["order"] > 0,
        said=frozenset(name for name in OPTIONAL if facts[name]),
    )


def _until(settings: Sequences) -> int:
    until = settings.window[1]
    return FOREVER if until is None else round(until.timestamp() * 1_000_000)


def _microseconds(moment: datetime) -> int:
    """Since 1970 UTC."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
