"""The events of the window, with numbers for who and what."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickflow.params.sequences import Sequences
from clickflow.sequences import engine
from clickflow.system.errors import DataError

FOREVER = 1 << 62
KEPT = "the store made before, if there was one"


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


def number(
    connection: Any, events: Path, settings: Sequences, *, by_person: bool = False, with_actors: bool = True
) -> Numbered:
    """The canonical events below `events` within the window of the params; `by_person`: see `units.unit.Unit`;
    not `with_actors`: nobody is numbered.

    Raises DataError where none lies in the window.
    """
    whole = engine.read_events(connection, events)
    table = engine.within(whole, *settings.window)
    read, inside = _count(whole), _count(table)
    if not inside:
        since, until = settings.window
        raise DataError(
            f"none of {read:,} events lies in the window from {since or 'the first'} to {until or 'the last'}",
            kept=KEPT,
            next_step="change sequences.since and sequences.until in params.yaml, or ingest the days they name",
        )
    if by_person:
        table = engine.without_sessions(table)
    items, categories = engine.number_items(connection, table), engine.number_categories(connection, table)
    brands = engine.number_brands(connection, table)
    nobody = table.filter(table.user_id.isnull() & table.session_id.isnull())
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
        outside=read - inside,
        of_nobody=_count(nobody),
        first=_microseconds(table, table.event_time.min()),
        stop=min(_microseconds(whole, whole.event_time.max()) + 1, _until(settings)),
        ordered=_count(table.filter(table.order.notnull())) > 0,
    )


def _until(settings: Sequences) -> int:
    until = settings.window[1]
    return FOREVER if until is None else round(until.timestamp() * 1_000_000)


def _microseconds(table: Any, moment: Any) -> int:
    """A moment of a table, since 1970 UTC."""
    import pyarrow as pa

    column = table.agg(moment=moment).to_pyarrow()["moment"]
    return int(column.cast(pa.timestamp("us", tz=column.type.tz)).cast(pa.int64())[0].as_py())


def _count(table: Any) -> int:
    return int(table.count().to_pyarrow().as_py())
