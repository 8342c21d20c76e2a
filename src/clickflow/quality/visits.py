"""Visits as `clickflow sequences` has them, as a view of the engine; and their steps that tie with the one before.

A visit is the session given, together with its user, or a user's day (UTC). Rows without a user in a session of exactly
one are that user's; in a session of several users each is a visit of their own, and so are the rows of none.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clickflow.quality.log import Log

NO_STEPS = ("search", "impression")
"""Types that are no step, even with an item: several things may well be shown at one instant."""

STEP = f"item_id IS NOT NULL AND event_type NOT IN {NO_STEPS}"

AGGREGATED = "count(*) AS events, min(event_time) AS first_event"
SOMEBODY = "(user_id IS NOT NULL OR session_id IS NOT NULL)"


COUNTS = "SELECT count(*), count(*) FILTER (events = 1), max(events), count(*) FILTER (shared) FROM visits"


def create(log: Log) -> tuple[int, int, int | None]:
    """Make the view `visits`: session_id, user_id, events, first_event. Returns how many there are, how many of them
    are one event, and the events of the longest.
    """
    log.connection.execute(
        "CREATE OR REPLACE TEMP VIEW visits AS SELECT session_id, any_value(user_id) AS user_id, "
        f"{AGGREGATED}, min(user_id) <> max(user_id) AS shared FROM events WHERE {SOMEBODY} "
        "GROUP BY session_id, CASE WHEN session_id IS NULL THEN user_id END, CASE WHEN session_id IS NULL THEN day END"
    )
    visits, single, longest, shared = log.connection.execute(COUNTS).fetchone()
    if shared:
        log.connection.execute(
            "CREATE OR REPLACE TEMP TABLE parted AS SELECT * FROM visits WHERE shared IS DISTINCT FROM true UNION ALL "
            f"SELECT session_id, user_id, {AGGREGATED}, false FROM events "
            "WHERE session_id IN (SELECT session_id FROM visits WHERE shared) GROUP BY session_id, user_id; "
            "CREATE OR REPLACE TEMP VIEW visits AS SELECT * FROM parted"
        )
        visits, single, longest, _ = log.connection.execute(COUNTS).fetchone()
    return visits, single, longest


def times(file: Path) -> NDArray[np.int64] | None:
    """The times of a file's rows, microseconds; that of the row above where there is none. None: it has no times."""
    parquet = pq.ParquetFile(file)
    schema = parquet.schema_arrow
    if "event_time" not in schema.names or not pa.types.is_timestamp(schema.field("event_time").type):
        return None
    column = parquet.read(columns=["event_time"]).column(0)
    column = column.cast(pa.timestamp("us", tz=column.type.tz)).cast(pa.int64())
    if column.null_count:
        column = pc.fill_null(pc.fill_null_forward(column), np.iinfo(np.int64).min)
    times: NDArray[np.int64] = column.to_numpy()
    return times


def ties(file: Path, time: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows (from 0) of a sorted file that are a step with the time, and the same or no `order`, of the step before
    of their visit. Other columns than the time (as from `times`) are read only where times are equal.
    """
    same = np.diff(time) == 0
    equal = np.append(same, False) | np.append(False, same)
    nothing = np.empty(0, np.int64)
    if not equal.any():
        return nothing
    parquet = pq.ParquetFile(file)
    wanted = {"event_type": pa.string(), "user_id": pa.string(), "session_id": pa.string(), "item_id": pa.string()}
    wanted["order"] = pa.int64()
    schema = parquet.schema_arrow
    there = [name for name, kind in wanted.items() if name in schema.names and schema.field(name).type == kind]
    if not {"event_type", "item_id"} <= set(there):
        return nothing
    tied, offset = [nothing], 0
    last: pa.Table | None = None
    for number in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(number).num_rows
        at = np.flatnonzero(equal[offset : offset + rows])
        if len(at):
            table = parquet.read_row_group(number, columns=there).take(pa.array(at))
            at += offset
            table = table.append_column("time", pa.array(time[at])).append_column("row", pa.array(at))
            steps = pc.and_(pc.is_valid(table["item_id"]), pc.invert(pc.is_in(table["event_type"], pa.array(NO_STEPS))))
            table = table.filter(steps)
            table = table if last is None else pa.concat_tables([last, table])
            tied.append(table["row"].to_numpy()[_tied(table)])
            last = table.slice(max(0, table.num_rows - 1)) if table.num_rows else None
        offset += rows
    return np.concatenate(tied)


def _tied(table: pa.Table) -> NDArray[np.bool_]:
    """Which steps tie with the one above: same time, session (or no session and the same user), users that are the same
    or not both known, and the same or no order.
    """
    tied = np.zeros(table.num_rows, bool)
    if not len(tied):
        return tied

    def column(name: str) -> tuple[Any, Any]:
        values = table[name].combine_chunks() if name in table.column_names else pa.nulls(len(tied), pa.string())
        return values[1:], values[:-1]

    def true(values: Any) -> NDArray[np.bool_]:
        return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), bool)

    def equal(name: str) -> NDArray[np.bool_]:
        here, before = column(name)
        return true(pc.equal(here, before)) | true(pc.and_(pc.is_null(here), pc.is_null(before)))

    here, before = column("user_id")
    lone = true(pc.is_null(column("session_id")[0]))
    either = true(pc.or_(pc.is_null(here), pc.is_null(before)))
    same_user = np.where(lone, true(pc.equal(here, before)), equal("user_id") | either)
    tied[1:] = (np.diff(table["time"].to_numpy()) == 0) & equal("session_id") & same_user & equal("order")
    return tied
