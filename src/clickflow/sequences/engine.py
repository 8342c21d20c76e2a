"""What the query engine does, as Ibis expressions: number, join, sort. Everything after it is one linear pass.

The engine spills to disk beyond its memory. No expression aggregates into lists and none needs a window over the
events: the sorted rows are cut and packed by `cutting` and `pack`, which are the same for every engine.
"""

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from clickflow.events.contract import COLUMNS, EVENT_TYPES, GROUPS
from clickflow.sequences.features import held
from clickflow.sequences.units.unit import Sums
from clickflow.system.errors import ClickflowError, DataError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 1 << 17
"""Rows handed over at a time."""
NO_ORDER = -(2**63) + 1
NO_TYPE = 255
"""The code of an event type outside the contract."""


@contextmanager
def engine(scratch: Path, *, memory_gb: float, threads: int | None = None) -> Iterator[Any]:
    """An Ibis connection to a DuckDB of its own that keeps to `memory_gb` and spills into `scratch`.

    Faults of DuckDB become ClickflowError (memory, disk) or DataError (files that are no Parquet).
    """
    import ibis

    connection = ibis.duckdb.connect(
        memory_limit=f"{int(memory_gb * 1000)}MB",
        temp_directory=str(scratch / "spill"),
        threads=threads or len(os.sched_getaffinity(0)),
        preserve_insertion_order=False,
    )
    try:
        yield connection
    except duckdb.OutOfMemoryException as error:
        raise ClickflowError(
            f"{memory_gb} GB of memory, or the disk below {scratch}, are too little: {error}",
            kept="the store made before, if there was one",
            next_step="raise sequences.memory_gb in params.yaml, or make room on the disk",
        ) from error
    except (duckdb.IOException, duckdb.InvalidInputException, duckdb.BinderException) as error:
        raise DataError(
            f"the canonical events cannot be read: {error}",
            kept="the store made before, if there was one",
            next_step="run `dvc checkout data/events`, or `clickflow ingest`",
        ) from error
    finally:
        connection.disconnect()


def batches(connection: Any, expression: Any) -> "pa.RecordBatchReader":
    """The rows of an expression, streamed."""
    # compiled by Ibis, fetched through DuckDB: Ibis 12 calls a method that DuckDB 2 no longer has
    return connection.con.sql(str(connection.compile(expression))).to_arrow_reader(BATCH)


def keep(connection: Any, name: str, expression: Any) -> Any:
    """The rows of an expression as the temporary table `name`. `create_table` of Ibis makes the same one, and asks the
    database five things more: that takes longer than a small table does.
    """
    from ibis.expr import operations

    schema = expression.schema()
    columns = ", ".join(each.sql(connection.name) for each in schema.to_sqlglot_column_defs(connection.dialect))
    connection.con.execute(f'CREATE TEMPORARY TABLE "{name}" ({columns})')
    connection.con.execute(f'INSERT INTO "{name}" {connection.compile(expression)}').fetchall()
    where = operations.Namespace(catalog="temp", database="main")
    return operations.DatabaseTable(name, schema=schema, source=connection, namespace=where).to_expr()


def facts(connection: Any, table: Any, **numbers: Any) -> dict[str, Any]:
    """Numbers that aggregate all rows of a table, in one look at them."""
    (row,) = connection.to_pyarrow(table.agg(**numbers)).to_pylist()
    result: dict[str, Any] = row
    return result


def write(connection: Any, expression: Any, *paths: Path) -> None:
    """Stream the rows of an expression, in its order, into scratch Parquet files: those whose `part` is the place of
    a path, by which they are sorted, without that column.
    """
    import pyarrow as pa
    from pyarrow import parquet

    reader = batches(connection, expression)
    schema = pa.schema([field for field in reader.schema if field.name != "part"])
    with ExitStack() as opened:
        writers = [opened.enter_context(parquet.ParquetWriter(path, schema, compression="none")) for path in paths]
        for batch in reader:
            ends = np.searchsorted(batch["part"].to_numpy(), np.arange(len(paths) + 1))
            rows = batch.select(schema.names)
            for writer, (first, end) in zip(writers, pairwise(ends.tolist()), strict=True):
                if end > first:
                    writer.write_batch(rows.slice(first, end - first))


def read_events(connection: Any, folder: Path) -> Any:
    """The canonical events below `folder`, with `file_row_number`, which orders the events of one instant: they lie in
    one file. Raises UsageError where there are none, DataError where they lack a column.
    """
    if not any(folder.glob("*/*.parquet")):
        raise UsageError(f"there are no canonical events in {folder}", next_step="run `clickflow ingest`")
    events = connection.read_parquet(f"{folder}/*/*.parquet", hive_partitioning=False, file_row_number=True)
    if missing := [name for name in COLUMNS if name not in events.columns]:
        raise DataError(
            f"the events in {folder} have no column {', '.join(missing)}: another version made them",
            kept="the store made before, if there was one",
            next_step="run `clickflow ingest`",
        )
    return events


def within(events: Any, since: datetime | None, until: datetime | None) -> Any:
    """Which events are in [since, until); None leaves an end open. Rows without a time are in no window but the open
    one.
    """
    import ibis

    inside = [ibis.literal(True)] if since is None and until is None else []
    inside += [events.event_time >= since] if since else []
    inside += [events.event_time < until] if until else []
    return ibis.and_(*inside)


def without_sessions(events: Any) -> Any:
    """The events as if the source had given no sessions."""
    import ibis

    return events.mutate(session_id=ibis.null("string"))


def number_items(connection: Any, events: Any) -> Any:
    """Table `item_id`, `item`: 0.. in the order of the ids."""
    return _numbered(connection, "items", _distinct(events, "item_id"), "item")


def number_categories(connection: Any, events: Any) -> Any:
    """Table `category`, `code`: 0.. in the order of the paths."""
    return _numbered(connection, "categories", _distinct(events, "category"), "code")


def number_brands(connection: Any, events: Any) -> Any:
    """Table `brand`, `brand_code`: 0.. in the order of the texts."""
    return _numbered(connection, "brands", _distinct(events, "brand"), "brand_code")


def _distinct(events: Any, column: str) -> Any:
    values = events.select(column)
    return values.filter(values[column].notnull()).distinct()


def groups(connection: Any, events: Any, said: Collection[str]) -> "pa.Table | None":
    """Of each user the country and the device of most of their events, of equals the first by its text, null where
    none says it: `user_id` and a column of each of `GROUPS`; None where no event of a user does. `said`: those that
    any event does.
    """
    import ibis
    import pyarrow as pa
    import pyarrow.compute as pc

    tables = {}
    for column in said:
        each = events.select("user_id", column)
        each = each.filter(each.user_id.notnull() & each[column].notnull())
        counted = each.group_by("user_id", group=each[column]).agg(events=each.count())
        window = ibis.window(group_by="user_id", order_by=[counted.events.desc(), counted.group])
        first = counted.mutate(place=ibis.row_number().over(window)).filter(lambda ranked: ranked.place == 0)
        query = str(connection.compile(first.select("user_id", "group").order_by("user_id")))
        tables[column] = connection.con.sql(query).to_arrow_table()
    users = pc.unique(
        pa.chunked_array([each for table in tables.values() for each in table["user_id"].chunks], pa.string())
    )
    if not len(users):
        return None
    columns = {name: pa.nulls(len(users), pa.string()) for name in GROUPS}
    for name, table in tables.items():
        columns[name] = table["group"].combine_chunks().take(pc.index_in(users, table["user_id"]))
    return pa.table({"user_id": users, **columns})


def item_names(connection: Any, events: Any, items: Any, until: int) -> "pa.Array":
    """The most frequent name of each item, by its number, null where it has none; of equals the first by its text.

    Events up to `until` (microseconds since 1970) count; what came later names only items that had no name by then.
    """
    import ibis

    named = events.select("item_id", "item_name", "event_time")
    named = named.filter(named.item_id.notnull() & named.item_name.notnull())
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=until)
    counted = named.group_by("item_id", "item_name").agg(early=(named.event_time <= moment).sum(), every=named.count())
    order = [counted.early.desc(), ibis.ifelse(counted.early > 0, 0, counted.every).desc(), counted.item_name]
    ranked = counted.mutate(place=ibis.row_number().over(ibis.window(group_by="item_id", order_by=order)))
    first = ranked.filter(ranked.place == 0)
    names = items.left_join(first, "item_id").order_by("item").select("item_name")
    return connection.con.sql(str(connection.compile(names))).to_arrow_table()["item_name"].combine_chunks()


@dataclass(frozen=True)
class Actors:
    """Who there is: a session with its user, or a user without sessions.

    `named`: `actor` int32, `user_id`, `session_id`, a row an actor, in the order of appearance (numbers of those that
    appear at one instant are arbitrary; nothing that is written depends on them). `pairs`: `user_id`, `session_id` as
    events have them, and the `actor` that they mean. `known_in_part` sessions have one user, on some rows only: they
    are that user's; in `of_several` sessions there are several users, who stay apart from each other and from rows
    without one.
    """

    named: Any
    pairs: Any
    known_in_part: int
    of_several: int


def number_actors(connection: Any, events: Any) -> Actors:
    """Number whoever has an event."""
    import ibis

    events = events.select("user_id", "session_id", "event_time")
    somebody = events.filter(events.user_id.notnull() | events.session_id.notnull())
    event_pairs = somebody.group_by("user_id", "session_id").agg(first=somebody.event_time.min())
    event_pairs = keep(connection, "event_pairs", event_pairs)
    given = event_pairs.filter(event_pairs.session_id.notnull())
    users = given.group_by("session_id").agg(users=given.user_id.count(), rows=given.count(), only=given.user_id.max())
    users = keep(connection, "session_users", users.filter(users.rows > 1))
    number = facts(
        connection, users, one=users.count(where=users.users == 1), several=users.count(where=users.users > 1)
    )
    known_in_part, of_several = number["one"], number["several"]
    if not known_in_part:
        named = _numbered(connection, "actors", event_pairs, "actor", by="first").drop("first")
        return Actors(named, named, known_in_part, of_several)
    joined = event_pairs.left_join(users, "session_id")
    only = ibis.ifelse((joined.users == 1).fill_null(False), joined.only, joined.user_id)
    owned = joined.select("first", "user_id", "session_id", owner=only)
    owned = keep(connection, "owned_pairs", owned)
    named = owned.group_by("owner", "session_id").agg(first=owned["first"].min())
    named = _numbered(connection, "actors", named, "actor", by="first").rename(user_id="owner").drop("first")
    owners = named.rename(owner="user_id", of_session="session_id")
    same = [owned.owner.identical_to(owners.owner), owned.session_id.identical_to(owners.of_session)]
    pairs = owned.join(owners, same).select("user_id", "session_id", "actor")
    return Actors(named, keep(connection, "pairs", pairs), known_in_part, of_several)


def _numbered(connection: Any, name: str, table: Any, number: str, *, by: str | None = None) -> Any:
    import ibis

    position = ibis.row_number().over(ibis.window(order_by=by or table.columns[0]))
    return keep(connection, name, table.mutate(**{number: position.cast("int32")}))


def ordered_events(
    events: Any,
    pairs: Any,
    items: Any,
    categories: Any,
    brands: Any,
    *,
    columns: Iterable[str] = (),
    with_order: bool = True,
) -> Any:
    """All events of somebody as numbers, an actor after the other, each in the order of time.

    Columns: `actor` int32; `time`; `item` int32 (-1 none); `action` uint8; the features that are columns of the event
    (null: none; `columns`: as the unit names them); `category` and `brand` int32 (-1 none); `open` (true where the
    source gave no session, so that silences cut); `row`, in the day's file: events of one actor at one instant stand in
    its order, which is that of the source. `order` int64 is there where asked for, the least number standing for none.
    """
    values = {name: (feature.event, feature.stored) for name, feature in held(columns).items() if feature.event}
    action = events.event_type.cases(*((name, code) for code, name in enumerate(EVENT_TYPES)), else_=NO_TYPE)
    pairs = pairs.rename(pair_user="user_id", pair_session="session_id")
    joined = events.join(
        pairs,
        [events.user_id.identical_to(pairs.pair_user), events.session_id.identical_to(pairs.pair_session)],
    )
    joined = joined.left_join(items, "item_id").left_join(categories, "category").left_join(brands, "brand")
    joined = joined.select(
        actor=joined.actor,
        time=joined.event_time,
        item=joined.item.fill_null(-1),
        action=action.cast("uint8"),
        **{name: joined[of_event].cast(np.dtype(kind).name) for name, (of_event, kind) in values.items()},
        category=joined.code.fill_null(-1),
        brand=joined.brand_code.fill_null(-1),
        open=joined.session_id.isnull(),
        row=joined.file_row_number,
        **({"order": joined.order.fill_null(NO_ORDER)} if with_order else {}),
    )
    return joined.order_by("actor", "time", "row")


def sales(events: Any, sums: Sums) -> Any:
    """What was bought by key and day, in their order: `key` (null: none), `day` since 1970 UTC, `bought` and `back` in
    pieces (no quantity is one), `value` of the `priced` pieces, `category` of the day, and how many `events` that is.

    Sums are of decimals, six behind the point, which come out the same in whatever order rows are added.
    """
    import ibis

    def exact(value: Any) -> Any:
        return value.cast("decimal(38, 6)").sum().fill_null(0).cast("float64")

    kinds = ["purchase", *(["cancel"] if sums.returns else [])]
    used = events.filter(events.event_type.isin(kinds))
    keys = {"item": used.item_id, "category": used.category, "shop": ibis.literal("shop")}
    used = used.mutate(
        key=keys[sums.level],
        day=(used.event_time.epoch_seconds() / 86_400).floor().cast("int64"),
        pieces=used.quantity.cast("float64").fill_null(1.0),
        is_sale=used.event_type == "purchase",
        of=used.category if sums.level != "shop" else ibis.null("string"),
    )
    counted = used.group_by("key", "day").agg(
        bought=exact(ibis.ifelse(used.is_sale, used.pieces, 0.0)),
        back=exact(ibis.ifelse(used.is_sale, 0.0, used.pieces)),
        value=exact(ibis.ifelse(used.is_sale, used.price * used.pieces, 0.0)),
        priced=exact(ibis.ifelse(used.is_sale & used.price.notnull(), used.pieces, 0.0)),
        category=used.of.min(),
        events=used.count(),
    )
    return counted.order_by("key", "day")


def ordered_sequences(sequences: Any, actors: Any, row: list[str]) -> Any:
    """The sequences, the columns `row`, `source` and `part`, by part and then in the order of the store: by start, end
    and content.

    So the order is the same under every key of the pseudonyms; sequences of equal steps stand by session, user, piece.
    `sequences` has the columns `cutting.SEQUENCE` and `part`. A session that the source did not name is called
    `<user>@<microseconds of its first step>`.
    """
    import ibis

    chosen = sequences.join(actors, "actor")
    name = ibis.ifelse(
        chosen.session_id.isnull(),
        chosen.user_id.concat("@", chosen.group_start.cast("string")),
        chosen.session_id,
    )
    named = chosen.mutate(session_id=name)
    named = named.order_by("part", "start", "end", "content", "session_id", "user_id", "piece")
    return named.select(*row, "source", "part")
