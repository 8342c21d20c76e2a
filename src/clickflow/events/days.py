"""One day of events: sorted, without duplicates, as one Parquet file.

Its bytes depend on the rows, and on their order in the sources only where one actor (a session, or a user without one)
has several at one instant: those stand as the source has them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clickflow.events.contract import COLUMNS, GROUPS, SCHEMA
from clickflow.events.rows import ORDINAL_BITS
from clickflow.system.moments import DAY

ROW_GROUP = 131_072
KEPT = -1
"""The source of rows that were accepted by an earlier run: they go before all others."""

COMPARED = (
    *("item_id", "event_type", "user_id", "category", "brand", "price", "quantity", "campaign", "item_name"),
    *GROUPS,
)
"""What else two rows of one actor, instant and `order` must have in common to be duplicates; what tells most first."""


@dataclass(frozen=True)
class Day:
    """What became of a day: rows and bytes written, the raw rows that were duplicates, and the sources of rows that
    tie with one that an earlier run had accepted: same instant, actor and `order`.
    """

    rows: int
    size: int
    source: NDArray[np.int32]
    position: NDArray[np.int64]
    beside_kept: NDArray[np.int32]


def folder_of(day: int) -> str:
    """`day=2026-01-05`, for a day counted from 1970."""
    return f"day={datetime.fromtimestamp(day * DAY / 1e6, UTC):%Y-%m-%d}"


def read_day(path: Path) -> pa.Table:
    """An existing day, as staged rows of the source `KEPT`."""
    table = pq.read_table(path, schema=SCHEMA, partitioning=None)
    table = table.append_column("source", pa.array(np.full(table.num_rows, KEPT, np.int32)))
    return table.append_column("position", pa.array(np.arange(table.num_rows)))


def write_day(
    staged: pa.Table, path: Path, slice_rows: int, *, keep_duplicates: bool = False, newest_first: bool = False
) -> Day:
    """Sort, drop duplicates where they are not kept, and write; at most about `slice_rows` rows are in work at once.

    `newest_first`: of one instant the lines of a source stand in the reverse of their order.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sources, positions = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    waiting: list[pa.Table] = []
    beside_kept = [np.zeros(0, np.int32)]
    held = rows = 0
    with _writer(path) as writer:

        def write(table: pa.Table) -> None:
            writer.write_table(table.combine_chunks(), row_group_size=ROW_GROUP)

        for part in _slices(staged, slice_rows):
            ordered = _ordered(part, newest_first=newest_first)
            source, tie = ordered["source"].to_numpy(), _ties(ordered)
            beside_kept.append(_beside_kept(source, tie))
            double = np.zeros(0, np.int64) if keep_duplicates else _doubles(ordered, tie)
            if len(double):
                sources.append(source[double])
                positions.append(ordered["position"].to_numpy()[double])
                ordered = ordered.take(pa.array(np.delete(np.arange(ordered.num_rows), double)))
            waiting.append(ordered.select(list(COLUMNS)))
            held += ordered.num_rows
            rows += ordered.num_rows
            if held >= ROW_GROUP:
                table = pa.concat_tables(waiting)
                full = held - held % ROW_GROUP
                write(table.slice(0, full))
                waiting, held = [table.slice(full)], held - full
        if held:
            write(pa.concat_tables(waiting))
    beside = np.unique(np.concatenate(beside_kept))
    return Day(rows, path.stat().st_size, np.concatenate(sources), np.concatenate(positions), beside)


def write_without(path: Path, target: Path, gone: Callable[[pa.Table], pa.Array]) -> tuple[int, int]:
    """Write a day again without some of its rows, byte for byte as if they had never come: rows left, rows gone.

    Nothing is written where no row is gone, or none left.
    """
    table = pq.read_table(path, schema=SCHEMA, partitioning=None)
    left = table.filter(pc.invert(gone(table)))
    if left.num_rows in (0, table.num_rows):
        return left.num_rows, table.num_rows - left.num_rows
    target.parent.mkdir(parents=True, exist_ok=True)
    with _writer(target) as writer:
        full = left.num_rows - left.num_rows % ROW_GROUP
        for part in (left.slice(0, full), left.slice(full)):
            if part.num_rows:
                writer.write_table(part.combine_chunks(), row_group_size=ROW_GROUP)
    return left.num_rows, table.num_rows - left.num_rows


def _writer(path: Path) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path,
        SCHEMA,
        compression="snappy",
        use_dictionary=[name for name in COLUMNS if name != "event_time"],
        column_encoding={"event_time": "DELTA_BINARY_PACKED"},
        write_statistics=["event_time"],
    )


def _slices(staged: pa.Table, rows: int) -> Iterator[pa.Table]:
    """The rows in ranges of time, earlier ranges first; equal times stay together."""
    if staged.num_rows <= rows:
        yield staged
        return
    time = staged["event_time"].cast(pa.int64()).to_numpy()
    edges = np.unique(np.quantile(time, np.linspace(0, 1, -(-len(time) // rows) + 1)[1:-1], method="nearest"))
    which = np.searchsorted(edges, time, side="right")
    for part in range(len(edges) + 1):
        yield staged.take(pa.array(np.flatnonzero(which == part)))


def _ordered(table: pa.Table, *, newest_first: bool) -> pa.Table:
    """Sorted by time, session, user where there is no session, `order`, source and position."""
    session = table["session_id"]
    keys = ["event_time", "session_id", "order", "source", "position"]
    if session.null_count:
        alone = pc.if_else(session.is_null(), table["user_id"], None)
        table, keys = table.append_column("alone", alone), [*keys[:2], "alone", *keys[2:]]
    if newest_first:
        # lines of files backwards, the events of one line as they stand; rows of before are in order
        position = table["position"].to_numpy()
        line, ordinal = position >> ORDINAL_BITS, position & (1 << ORDINAL_BITS) - 1
        place = np.where(table["source"].to_numpy() == KEPT, position, (-line << ORDINAL_BITS) + ordinal)
        table, keys = table.append_column("place", pa.array(place)), [*keys[:-1], "place"]
    if table["order"].null_count == table.num_rows:
        keys.remove("order")
    return table.take(
        pc.sort_indices(table, sort_keys=[(key, "ascending", "at_start") for key in keys])
    ).combine_chunks()


def _ties(table: pa.Table) -> NDArray[np.bool_]:
    """Which rows of a sorted table tie with the row before: the same instant, actor and `order`."""
    same = np.flatnonzero(np.diff(table["event_time"].cast(pa.int64()).to_numpy()) == 0) + 1
    for name in ("session_id", "alone", "order"):
        if len(same) and name in table.column_names:
            same = same[_equal(table[name].combine_chunks(), same, same - 1)]
    tie = np.zeros(table.num_rows, bool)
    tie[same] = True
    return tie


def _equal(column: pa.Array, these: NDArray[np.int64], those: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where values of a column at two lists of places are equal; null equals null."""
    if column.null_count == len(column):
        return np.ones(len(these), bool)
    one, other = column.take(pa.array(these)), column.take(pa.array(those))
    equal = pc.equal(one, other).fill_null(False)
    if column.null_count:
        equal = pc.or_(equal, pc.and_(pc.is_null(one), pc.is_null(other)))
    return np.asarray(equal.to_numpy(zero_copy_only=False), bool)


def _beside_kept(source: NDArray[np.int32], tie: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The sources of rows that tie with a kept one; kept rows are the first of a tie."""
    kept = source == KEPT
    if not kept.any():
        return np.zeros(0, np.int32)
    leader: NDArray[np.int64] = np.maximum.accumulate(np.where(tie, 0, np.arange(len(tie))))
    return np.unique(source[tie & ~kept & kept[leader]])


def _doubles(table: pa.Table, tie: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The rows that equal an earlier one of their tie in every column. Column by column, only rows that are still equal
    to another are looked at.
    """
    rows = np.flatnonzero(tie | np.append(tie[1:], False))
    group: NDArray[np.int64] = np.cumsum(~tie, dtype=np.int64)[rows]
    for name in COMPARED:
        if not len(rows):
            break
        if table[name].null_count == table.num_rows:
            continue
        coded = table[name].combine_chunks().take(pa.array(rows)).dictionary_encode().indices
        code = coded.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False) + 1
        group = np.unique(group * (code.max() + 1) + code, return_inverse=True)[1]
        still = np.bincount(group)[group] > 1
        rows, group = rows[still], group[still]
    return np.sort(np.delete(rows, np.unique(group, return_index=True)[1]))
