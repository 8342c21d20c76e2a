"""A shop's events as series: units bought a day or a week, of an item, a category, or the whole shop."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clickflow.forecasting.panel import Panel, Step, begin, panel, period
from clickflow.system.errors import DataError

Array = NDArray[Any]
Level = Literal["item", "category", "shop"]

KEYS: dict[Level, str] = {"item": "item_id", "category": "category", "shop": "'shop'"}
LEAST: dict[Step, int] = {"day": 8, "week": 4, "month": 4}
"""Periods that a log must have."""


@dataclass(frozen=True)
class Series:
    """Series of one level, and what is not in them.

    `parent`: of items, their category ("" where they have none), in the order of `panel.ids`.
    """

    level: Level
    panel: Panel
    parent: tuple[str, ...]
    units_of_the_open_period: int
    """Bought in the period in which the log ends, which may not be over: it is left out."""
    units_without_key: int
    series_of_few_sales: int
    units_of_few_sales: int

    @property
    def ends(self) -> np.datetime64:
        """The first day that is forecast."""
        day: np.datetime64 = self.panel.dates(np.array([self.panel.periods]))[0]
        return day


def series(events: Path, level: Level, step: Step, least_sales: int = 1) -> Series:
    """Sum the purchases of canonical events by key and period; a purchase without a quantity is of one piece.

    A series begins with its first sale and runs to the end of the log, with zeros between. Series of fewer days with a
    sale are left out and counted. Raises DataError where nothing was bought, or the log is too short.
    """
    import duckdb

    if next(events.glob("*/*.parquet"), None) is None:
        raise DataError(
            f"there are no events in {events}", kept="nothing was written", next_step="run `clickflow ingest`"
        )
    folder = str(events).replace("'", "''")
    source = f"read_parquet('{folder}/*/*.parquet', hive_partitioning=false)"
    with duckdb.connect(":memory:") as connection:
        last = connection.sql(f"select max(event_time)::timestamp::date from {source}").fetchall()[0][0]
        rows = connection.sql(
            f"""select {KEYS[level]} as key, event_time::timestamp::date as day, any_value(category) as parent,
                sum(coalesce(quantity, 1))::double as units,
                sum(price * coalesce(quantity, 1))::double as value,
                sum(case when price is not null then coalesce(quantity, 1) end)::double as priced
            from {source} where event_type = 'purchase' group by all order by all"""
        ).to_arrow_table()
    column = {name: rows[name].to_numpy(zero_copy_only=False) for name in ("units", "value", "priced")}
    keys, days = np.asarray(rows["key"].to_pylist(), object), np.asarray(rows["day"].to_pylist(), "datetime64[D]")
    if not len(keys):
        raise DataError("nothing was bought in this log", next_step="demand needs events of type purchase")
    named = np.array([key is not None for key in keys])
    number, open_period = period(days, step), period(np.asarray([last], "datetime64[D]"), step)[0]
    closed = number < open_period
    used = named & closed
    ids, at = np.unique(keys[used].astype(str), return_inverse=True)
    enough = np.bincount(at, minlength=len(ids)) >= least_sales
    kept = np.flatnonzero(used)[enough[at]]
    few = np.flatnonzero(used)[~enough[at]]
    if not len(kept) or open_period - number[kept].min() < LEAST[step]:
        raise DataError(
            f"the log has fewer than {LEAST[step]} whole {step}s from the first sale on ({level})",
            next_step="ingest more days, or lower --least-sales",
        )
    price = np.divide(column["value"], column["priced"], out=np.full(len(keys), np.nan), where=column["priced"] > 0)
    held = panel(
        keys[kept].astype(str), days[kept], column["units"][kept], step=step, price=price[kept], to_the_end=True
    )
    parents = dict(zip(keys[kept].tolist(), rows["parent"].take(kept.tolist()).to_pylist(), strict=True))
    return Series(
        level=level,
        panel=_to(held, begin(int(open_period), step)),
        parent=tuple((parents[key] or "") if level == "item" else "" for key in held.ids),
        units_of_the_open_period=int(column["units"][named & ~closed].sum()),
        units_without_key=int(column["units"][~named].sum()),
        series_of_few_sales=int((~enough).sum()),
        units_of_few_sales=int(column["units"][few].sum()),
    )


def _to(held: Panel, end: np.datetime64) -> Panel:
    """The panel up to `end`, not included: nothing was sold in the periods that are missing."""
    now = period(held.dates(np.array([held.periods])), held.step)[0]
    more = int(period(np.asarray([end]), held.step)[0] - now)
    if more <= 0:
        return held
    price = held.price
    return replace(
        held,
        values=np.pad(held.values, ((0, 0), (0, more))),
        price=None if price is None else np.pad(price, ((0, 0), (0, more)), mode="edge"),
    )
