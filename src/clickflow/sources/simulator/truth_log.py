"""The truth beside a simulated log, written while it is made: hidden states, sessions, customers, campaigns, items.

events.parquet    one row an event of the process: session (number), time, action (index in EVENT_TYPES), state (the
                  hidden state after the event, a row of states.parquet), focus (category), current (item at hand after
                  the event, -1: none), campaign (-1: none)
sessions.parquet  session (number), session_id, user_id (null: guest), kind, price_class, epoch, taste_1 to taste_3
users.parquet     every customer: user (number), user_id, price_class, segment, hazard_per_day, relative_rate,
                  joined_day, lapsed_day (null: not within the log), taste_1 to taste_3, and for the last days of the
                  log churn_probability (no visit), lapse_probability
campaigns.parquet campaign, name, first_epoch, last_epoch, items, response_0 to response_3 by price class
items.parquet     item (index), item_id, category, tier, price, discount
states.parquet    price_class, intent, elapsed, status, and the probability of each next action
dirt.parquet      file, line, kind of every dirty line (absent where there is none)
card.json         settings, counts, files, names
"""

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clickflow.sources.simulator import crowd, outlook, raw_log, shopper
from clickflow.sources.simulator.columns import letters, named, numbers, texts
from clickflow.sources.simulator.shop import PRICE_CLASSES, Shop

EVENTS = pa.schema(
    [
        ("session", pa.int64()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("action", pa.int8()),
        ("state", pa.int16()),
        ("focus", pa.int16()),
        ("current", pa.int32()),
        ("campaign", pa.int16()),
    ]
)
SESSIONS = pa.schema(
    [
        ("session", pa.int64()),
        ("session_id", pa.string()),
        ("user_id", pa.string()),
        ("kind", pa.int8()),
        ("price_class", pa.int8()),
        ("epoch", pa.int32()),
        ("taste_1", pa.int16()),
        ("taste_2", pa.int16()),
        ("taste_3", pa.int16()),
    ]
)
USERS_AT_ONCE = 200_000


class TruthLog:
    """Writes events and sessions as they come. `folder` None: nothing is written. Use as a context manager."""

    def __init__(self, folder: Path | None) -> None:
        self._events = self._sessions = None
        if folder is not None:
            folder.mkdir()
            self._events = _writer(folder / "events.parquet", EVENTS)
            self._sessions = _writer(folder / "sessions.parquet", SESSIONS)

    def __enter__(self) -> "TruthLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for sink in (self._events, self._sessions):
            if sink is not None:
                sink.close()

    def sessions(
        self,
        opened: raw_log.OpenSessions,
        kind: NDArray[np.int8],
        price_class: NDArray[np.int8],
        epoch: NDArray[np.int32],
        tastes: NDArray[np.int16],
    ) -> None:
        """Append sessions."""
        if self._sessions is None or not len(kind):
            return
        ids = letters(raw_log.session_ids(opened.number))
        users = letters(raw_log.user_ids(opened.user), opened.user >= 0)
        columns = [opened.number, ids, users, kind, price_class, epoch, *tastes.T]
        self._sessions.write_table(_table(columns, SESSIONS))

    def events(self, block: raw_log.Block, opened: raw_log.OpenSessions) -> None:
        """Append events."""
        if self._events is None or not len(block.time):
            return
        columns = [
            opened.number[block.session],
            numbers(block.time, EVENTS.field("time").type),
            block.action,
            block.state.astype(np.int16),
            block.focus,
            block.current,
            block.campaign,
        ]
        self._events.write_table(_table(columns, EVENTS))


def write_tables(folder: Path, shop: Shop, tables: shopper.Process, sessions: int) -> dict[str, float]:
    """Users, campaigns, items and states; returns the cutoff and horizon in days of the churn probabilities."""
    horizon = min(7.0, shop.days / 4)
    _write_users(folder, shop, sessions, shop.days - horizon, horizon)
    count, promoted = shop.campaign_items.shape
    bounds = numbers(np.arange(count + 1, dtype=np.int32) * promoted)
    campaigns = {
        "campaign": np.arange(count),
        "name": texts([shop.campaign_name(k) for k in range(count)]),
        "first_epoch": shop.campaign_first,
        "last_epoch": shop.campaign_last,
        "items": pa.ListArray.from_arrays(bounds, numbers(shop.campaign_items.ravel())),
        **{f"response_{c}": shop.response[:, c] for c in range(PRICE_CLASSES)},
    }
    items = {
        "item": np.arange(shop.items, dtype=np.int32),
        "item_id": texts([f"i{number}" for number in shop.item_id.tolist()]),
        "category": texts(shop.categories).take(numbers(shop.category)),
        "tier": shop.tier,
        "price": shop.price,
        "discount": shop.discount,
    }
    price_class, intent, elapsed, status = shopper.parts(np.arange(shopper.ROWS))
    starts = np.zeros(len(tables.action) - shopper.ROWS, np.int64)
    inside = np.arange(len(tables.action)) < shopper.ROWS
    states = {
        "price_class": np.concatenate((price_class, np.arange(len(starts)) % PRICE_CLASSES)),
        "intent": named(np.concatenate((intent, starts)), shopper.INTENTS, inside).cast(pa.string()),
        "elapsed": np.concatenate((elapsed, starts)),
        "status": named(np.concatenate((status, starts)), shopper.STATUSES, inside).cast(pa.string()),
        **{name: tables.action[:, k] for k, name in enumerate(shopper.ACTIONS)},
    }
    for name, columns in (("campaigns", campaigns), ("items", items), ("states", states)):
        arrays = {key: value if isinstance(value, pa.Array) else numbers(value) for key, value in columns.items()}
        pq.write_table(pa.Table.from_arrays(list(arrays.values()), names=list(arrays)), folder / f"{name}.parquet")
    return {"at_day": shop.days - horizon, "horizon_days": horizon}


def _write_users(folder: Path, shop: Shop, sessions: int, at_day: float, horizon: float) -> None:
    ahead = outlook.outlook(shop, sessions, at_day, horizon)
    people = crowd.customers(shop)
    with pq.ParquetWriter(folder / "users.parquet", _users_schema()) as sink:
        for first in range(0, people, USERS_AT_ONCE):
            user = np.arange(first, min(first + USERS_AT_ONCE, people))
            traits = crowd.traits(shop, user)
            within = traits.lapsed != crowd.NEVER
            hazard = crowd.HAZARDS[traits.segment]
            gone = np.where(traits.lapsed <= at_day * crowd.DAY, 1.0, -np.expm1(-hazard * horizon))
            churn = ahead.no_visit(user)
            columns = [
                user,
                letters(raw_log.user_ids(user)),
                traits.price_class,
                traits.segment,
                hazard,
                crowd.relative_rate(shop, user),
                traits.joined / crowd.DAY,
                numbers(traits.lapsed / crowd.DAY, valid=within),
                *traits.tastes.T,
                numbers(churn, valid=~np.isnan(churn)),
                numbers(gone, valid=~np.isnan(churn)),
            ]
            sink.write_table(_table(columns, _users_schema()))


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Whole numbers as differences of neighbours: the smallest for what mostly stands in order, and fast."""
    encoding = {field.name: "DELTA_BINARY_PACKED" for field in schema if not pa.types.is_string(field.type)}
    return pq.ParquetWriter(
        path,
        schema,
        compression="none",
        use_dictionary=False,
        column_encoding=encoding,
        write_statistics=False,
        store_schema=False,
    )


def _table(columns: list[Any], schema: pa.Schema) -> pa.Table:
    arrays = [column if isinstance(column, pa.Array) else numbers(column) for column in columns]
    return pa.Table.from_arrays(arrays, schema=schema)


def _users_schema() -> pa.Schema:
    return pa.schema(
        [
            ("user", pa.int64()),
            ("user_id", pa.string()),
            ("price_class", pa.int8()),
            ("segment", pa.int8()),
            ("hazard_per_day", pa.float64()),
            ("relative_rate", pa.float64()),
            ("joined_day", pa.float64()),
            ("lapsed_day", pa.float64()),
            ("taste_1", pa.int16()),
            ("taste_2", pa.int16()),
            ("taste_3", pa.int16()),
            ("churn_probability", pa.float64()),
            ("lapse_probability", pa.float64()),
        ]
    )
