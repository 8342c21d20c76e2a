"""Events summed to the steps of series: a step for every period of a key, from its first sale to the last whole period
of the log. What is counted is exact, so that neither threads nor the order of rows change a byte. Pure numpy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clickflow.sequences import engine, split
from clickflow.sequences.features import Array
from clickflow.sequences.histories import Persons
from clickflow.sequences.numbering import KEPT, Numbered
from clickflow.sequences.units.unit import AsOf, Sums
from clickflow.system.errors import DataError
from clickflow.system.moments import DAY

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Summed:
    """The series, one after the other; `steps` as `pack` reads them, `events` int64 [e] how many each step sums.

    `left_out`: events by reason. `beyond`: units that were cancelled in periods in which fewer were sold.
    """

    persons: Persons
    numbered: Numbered
    steps: Mapping[str, Array]
    events: Array
    left_out: Mapping[str, int]
    beyond: float


def summed(connection: Any, numbered: Numbered, sums: Sums, how: AsOf) -> Summed:
    """The series of the events within the window. Raises DataError where there is none."""
    import pyarrow as pa

    rows = connection.con.sql(str(connection.compile(engine.sales(numbered.table, sums)))).to_arrow_table()
    if not len(rows):
        raise DataError(
            f"none of {numbered.events - numbered.outside:,} events is a purchase of any {sums.level}",
            kept=KEPT,
            next_step="map the columns of purchases (docs/howto/your-data.md), or take series out of units",
        )
    sold, left_out = _pairs(rows, numbered, sums, how)
    left_out = {
        "type_not_used": numbered.events - numbered.outside - int(rows["events"].to_numpy().sum()),
        **left_out,
    }
    kept, number = np.unique(sold["key"], return_inverse=True)
    first = np.searchsorted(number, np.arange(len(kept)))
    begins = sold["period"][first]
    end = (split.midnight(numbered.stop, how) - split.phase(how)) // (sums.period_days * DAY)
    length = end - begins
    source = np.cumsum(length) - length
    at = source[number] + sold["period"] - begins[number]
    total = int(length.sum())
    units = _spread(sold["units"], at, total, 0.0).astype(np.float32)
    period = np.arange(total) - np.repeat(source - begins, length)
    start = np.repeat(source, length)
    steps = {
        "time": period * sums.period_days * DAY + split.phase(how),
        "item": np.repeat(np.arange(len(kept), dtype=np.int32), length),
        "action": (units > 0).astype(np.uint8),
        "category": _carried(_spread(sold["category"], at, total, -1), start, -1).astype(np.int32),
        "price": _carried(_spread(sold["price"], at, total, np.nan), start, np.nan).astype(np.float32),
        "quantity": units,
        "brand": np.full(total, -1, np.int32),
    }
    ids = rows["key"].combine_chunks().dictionary_encode().dictionary.take(pa.array(kept))
    return Summed(
        persons=Persons(ids, source, length),
        numbered=_named(numbered, ids, rows),
        steps=steps,
        events=_spread(sold["events"], at, total, 0),
        left_out=left_out,
        beyond=float(np.maximum(sold["back"] - sold["bought"], 0).sum()),
    )


def _pairs(rows: "pa.Table", numbered: Numbered, sums: Sums, how: AsOf) -> tuple[dict[str, Array], dict[str, int]]:
    """What is known of each key and period, in their order, of the series that may be asked about; and the events that
    are in none.
    """
    column = {name: rows[name].to_numpy(zero_copy_only=False) for name in rows.column_names if name != "category"}
    key = rows["key"].combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
    days, phase = sums.period_days, split.phase(how) // DAY
    period = (column["day"] - phase) // days
    whole = [-(-(numbered.first // DAY - phase) // days), (split.midnight(numbered.stop, how) // DAY - phase) // days]
    events, inside = column["events"], (period >= whole[0]) & (period < whole[1])
    left_out = {"no_key": int(events[key < 0].sum()), "open_period": int(events[(key >= 0) & ~inside].sum())}
    used = np.flatnonzero((key >= 0) & inside)
    new = np.ones(len(used), bool)
    new[1:] = (np.diff(key[used]) != 0) | (np.diff(period[used]) != 0)
    at = np.flatnonzero(new)
    pairs: dict[str, Array] = {"key": key[used][at], "period": period[used][at]}
    for name in ("bought", "back", "value", "priced", "events"):
        pairs[name] = np.add.reduceat(column[name][used], at) if len(at) else column[name][:0]
    pairs["units"] = np.maximum(pairs["bought"] - pairs["back"], 0.0)
    there = pairs["priced"] > 0
    pairs["price"] = np.divide(pairs["value"], pairs["priced"], out=np.full(len(at), np.nan), where=there)
    codes = rows["category"].combine_chunks().dictionary_encode()
    last = used[np.append(at[1:], len(used)) - 1] if len(at) else used
    order = np.argsort(np.asarray(codes.dictionary.to_pylist(), object), kind="stable")
    rank = np.append(np.argsort(order), -1)  # of the path, in the order of the texts; -1: none
    pairs["category"] = rank[codes.indices.fill_null(-1).to_numpy()[last]]
    sale = pairs["units"] > 0
    owner = np.unique(pairs["key"], return_inverse=True)[1]
    begun = np.cumsum(sale)
    begun = begun - np.concatenate([[0], begun])[np.searchsorted(owner, owner)] > 0
    enough = (np.bincount(owner, sale) >= how.least)[owner] if len(owner) else begun
    left_out["few_sales"] = int(pairs["events"][~enough].sum())
    left_out["before_first_sale"] = int(pairs["events"][enough & ~begun].sum())
    kept = np.flatnonzero(enough & begun)
    if not len(kept):
        raise DataError(
            f"no {sums.level} has {how.least} periods with a sale in this log",
            kept=KEPT,
            next_step="lower sequences.series.least_sales in params.yaml, or ingest more days",
        )
    return {name: values[kept] for name, values in pairs.items()}, left_out


def _spread(values: Array, at: Array, total: int, otherwise: float) -> Array:
    """The values at their places, `otherwise` elsewhere."""
    column = np.full(total, otherwise, values.dtype)
    column[at] = values
    return column


def _carried(values: Array, start: Array, missing: float) -> Array:
    """Values with what is missing taken from the last one of the same series; `start` [e]: where it begins."""
    there = ~np.isnan(values) if np.isnan(missing) else values != missing
    latest = np.maximum.accumulate(np.where(there, np.arange(len(values)), -1))
    return np.where(latest >= start, values[latest], missing)


def _named(numbered: Numbered, ids: "pa.Array", rows: "pa.Table") -> Numbered:
    """The keys in the place of items, and their categories."""
    import pyarrow as pa

    paths = sorted(set(rows["category"].to_pylist()) - {None})
    return replace(numbered, item_ids=ids, paths=pa.array(paths, pa.string()), brand_names=pa.array([], pa.string()))
