"""One day of events: sorted, without duplicates, as one Parquet file whose bytes depend on the rows alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clickflow.events.contract import COLUMNS, SCHEMA, SORT_ORDER
from clickflow.events.staging import DAY

ROW_GROUP = 131_072
KEPT = -1
"""The source of rows that were accepted by an earlier run: they go before all others."""

KEYS = [(name, "ascending", "at_start") for name in (*SORT_ORDER, "source", "position")]


@dataclass(frozen=True)
class Day:
    """What became of a day: rows and bytes written, and the raw rows that were duplicates (and whether of a row that an
    earlier run had accepted).
    """

    rows: int
    size: int
    source: NDArray[np.int32]
    position: NDArray[np.int64]
    of_kept: NDArray[np.bool_]


def folder_of(day: int) -> str:
    """`day=2026-01-05`, for a day counted from 1970."""
    return f"day={datetime.fromtimestamp(day * DAY / 1e6, UTC):%Y-%m-%d}"


def read_day(path: Path) -> pa.Table:
    """An existing day, as staged rows of the source `KEPT`."""
    table = pq.read_table(path, schema=SCHEMA, partitioning=None)
    table = table.append_column("source", pa.array(np.full(table.num_rows, KEPT, np.int32)))
    return table.append_column("position", pa.array(np.arange(table.num_rows)))


def write_day(staged: pa.Table, path: Path, slice_rows: int) -> Day:
    """Sort, drop duplicates and write; at most about `slice_rows` rows are worked on at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sources, positions = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    waiting: list[pa.Table] = []
    of_kept = [np.zeros(0, bool)]
    held = rows = 0
    with pq.ParquetWriter(
        path,
        SCHEMA,
        compression="snappy",
        use_dictionary=[name for name in COLUMNS if name != "event_time"],
        column_encoding={"event_time": "DELTA_BINARY_PACKED"},
        write_statistics=["event_time"],
    ) as writer:

        def write(table: pa.Table) -> None:
            writer.write_table(table.combine_chunks(), row_group_size=ROW_GROUP)

        for part in _slices(staged, slice_rows):
            ordered = part.take(pc.sort_indices(part, sort_keys=KEYS))
            ordered = ordered.combine_chunks()
            double = _equal_to_previous(ordered)
            if double.any():
                source, position = ordered["source"].to_numpy(), ordered["position"].to_numpy()
                sources.append(source[double])
                positions.append(position[double])
                leader = np.maximum.accumulate(np.where(double, 0, np.arange(len(double))))
                of_kept.append(source[leader[double]] == KEPT)
                ordered = ordered.take(pa.array(np.flatnonzero(~double)))
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
    return Day(rows, path.stat().st_size, np.concatenate(sources), np.concatenate(positions), np.concatenate(of_kept))


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


def _equal_to_previous(table: pa.Table) -> NDArray[np.bool_]:
    """Which rows of a sorted table equal the row before in every canonical column."""
    double = np.zeros(table.num_rows, bool)
    time = table["event_time"].cast(pa.int64()).to_numpy()
    same = np.flatnonzero(np.diff(time) == 0) + 1
    for name in COLUMNS[1:]:
        if not len(same):
            return double
        column = table[name].combine_chunks()
        here, before = column.take(pa.array(same)), column.take(pa.array(same - 1))
        equal = pc.equal(here, before).fill_null(False)
        equal = pc.or_(equal, pc.and_(pc.is_null(here), pc.is_null(before)))
        same = same[np.asarray(equal.to_numpy(zero_copy_only=False), bool)]
    double[same] = True
    return double
